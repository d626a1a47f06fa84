"""A client of the official Python SDK: main.py --url URL --cutting-url URL --token TOKEN --era legacy|modern

One line a check: `ok NAME` or `failed NAME: why`. `--cutting-url` leads to the same server, and breaks off the stream of
a call after its first progress.
"""

import argparse
import logging
import time
from contextlib import asynccontextmanager

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

parser = argparse.ArgumentParser()
for option in ("url", "cutting-url", "token", "era"):
    parser.add_argument(f"--{option}", required=True)
options = parser.parse_args()
LEGACY = options.era == "legacy"
VERSION = "2025-11-25" if LEGACY else "2026-07-28"
# Streams that break off are logged; whether they are taken up again is what is checked.
logging.disable(logging.CRITICAL)


async def enter_form(_context, params):
    fields = params.requested_schema["properties"]
    return types.ElicitResult(action="accept", content=dict.fromkeys(fields, "Ada"))


async def sample(_context, _params):
    content = types.TextContent(type="text", text="Paris, said the model")
    return types.CreateMessageResult(role="assistant", content=content, model="e2e")


@asynccontextmanager
async def connected(url, token=None):
    """A client, and the headers of every response."""
    seen = []

    async def note(response):
        seen.append(response)

    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx2.Timeout(30, read=300)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [note]}) as http:
        transport = streamable_http_client(url, http_client=http)
        mode = "legacy" if LEGACY else VERSION
        client = Client(transport, mode=mode, elicitation_callback=enter_form, sampling_callback=sample)
        async with client:
            yield client, seen


def expect(holds, what):
    if not holds:
        raise AssertionError(f"expected {what}")


async def call(client, name, arguments=None, **more):
    result = await client.call_tool(name, arguments or {}, **more)
    text = next((part.text for part in result.content if part.type == "text"), "")
    expect(not result.is_error, f"no error, got {text}")
    return text


async def progress(client):
    """Which steps were told before the result, and when."""
    steps = []

    async def told(done, _total, _message):
        steps.append((done, time.monotonic()))

    await call(client, "progress", {"steps": 6, "delayMs": 100}, progress_callback=told)
    return steps, time.monotonic()


def leaves(error):
    """The errors within groups of them."""
    return [leaf for inner in error.exceptions for leaf in leaves(inner)] if hasattr(error, "exceptions") else [error]


async def check(name, run):
    try:
        await run()
        print(f"ok {name}", flush=True)
    except Exception as error:
        why = "; ".join(f"{type(leaf).__name__} {leaf}" for leaf in leaves(error)).replace("\n", " ")
        print(f"failed {name}: {why}", flush=True)


async def refused():
    responses = []
    try:
        async with connected(options.url) as (client, responses):
            await client.list_tools()
    except Exception:
        pass
    if not responses:
        # The context was never entered: ask for the status in the same way.
        responses = [await plain({})]
    expect(responses[0].status_code == 401, f"a 401, got {responses[0].status_code}")


async def plain(headers):
    """`tools/list` without the SDK."""
    accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": VERSION}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx2.AsyncClient() as http:
        return await http.post(options.url, json=message, headers=accept | headers)


async def negotiated(client):
    expect(client.protocol_version == VERSION, f"{VERSION}, got {client.protocol_version}")


async def echoes(client):
    text = await call(client, "echo", {"text": "häßlich & 日本"})
    expect("häßlich & 日本" in text, f"the text back, got {text}")


async def reports(client):
    steps, end = await progress(client)
    expect(len(steps) == 6, f"6 steps, got {len(steps)}")
    # Five pauses lie between the first step and the result. Gathered events would come together.
    expect(end - steps[0][1] > 0.25, "steps one by one")


async def asks_the_user(client):
    if LEGACY:
        text = await call(client, "test_elicitation", {"message": "Who are you?"})
    else:
        text = await call(client, "test_input_required_result_elicitation")
    expect("Ada" in text, f"what the user entered, got {text}")


async def asks_the_model(client):
    if LEGACY:
        text = await call(client, "test_sampling", {"prompt": "What is the capital of France?"})
    else:
        text = await call(client, "test_input_required_result_sampling")
    expect("Paris" in text, f"what the model said, got {text}")


async def takes_up_again():
    async with connected(options.cutting_url, options.token) as (client, _):
        steps, _ = await progress(client)
        told = [int(done) for done, _ in steps]
        expect(told == [1, 2, 3, 4, 5, 6], f"each step once, got {told}")


async def is_gone(session):
    expect(session, "a session")
    response = await plain({"authorization": f"Bearer {options.token}", "mcp-session-id": session})
    expect(response.status_code == 404, f"a 404, got {response.status_code}")


async def is_told(client):
    async with client.listen(tools_list_changed=True) as changes:
        await call(client, "test_trigger_tool_change")
        async for _ in changes:
            return


async def main():
    await check("a call without a token is refused", refused)
    async with connected(options.url, options.token) as (client, responses):
        await check("the revision is negotiated", lambda: negotiated(client))
        names = [tool.name for tool in (await client.list_tools()).tools]

        async def listed():
            expect("echo" in names, f"echo among {names}")

        await check("tools are listed", listed)
        await check("a tool is called", lambda: echoes(client))
        await check("progress arrives while the call runs", lambda: reports(client))
        if "test_elicitation" in names:
            await check("the server asks the user", lambda: asks_the_user(client))
            await check("the server asks the model", lambda: asks_the_model(client))
        if LEGACY:
            await check("a stream that breaks off is taken up again", takes_up_again)
        elif "test_trigger_tool_change" in names:
            await check("a listener is told of changes", lambda: is_told(client))
        session = next((seen for seen in (one.headers.get("mcp-session-id") for one in responses) if seen), None)
    if LEGACY:
        # The SDK ends its session with the connection.
        await check("a session that was ended is gone", lambda: is_gone(session))


anyio.run(main)
