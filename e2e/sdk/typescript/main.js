// A client of the official TypeScript SDK: node main.js --url URL --cutting-url URL --token TOKEN --era legacy|modern
//
// One line a check: `ok NAME` or `failed NAME: why`. `--cutting-url` leads to the same server, and breaks off the stream
// of a call after its first progress.
import { parseArgs } from 'node:util';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    'cutting-url': { type: 'string' },
    token: { type: 'string' },
    era: { type: 'string' },
  },
});
const legacy = options.era === 'legacy';
const version = legacy ? '2025-11-25' : '2026-07-28';

async function connect(url, token) {
  const client = new Client(
    { name: 'e2e-typescript', version: '0.1.0' },
    {
      versionNegotiation: legacy ? { mode: 'legacy' } : { mode: { pin: version } },
      capabilities: { elicitation: {}, sampling: {} },
    },
  );
  client.setRequestHandler('elicitation/create', async ({ params }) => ({
    action: 'accept',
    content: Object.fromEntries(Object.keys(params.requestedSchema.properties).map((field) => [field, 'Ada'])),
  }));
  client.setRequestHandler('sampling/createMessage', async () => ({
    model: 'e2e',
    role: 'assistant',
    content: { type: 'text', text: 'Paris, said the model' },
  }));
  // Streams that break off are reported too; whether they are taken up again is what is checked.
  client.onerror = () => {};
  const authProvider = token && { token: async () => token };
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  await client.connect(transport);
  return { client, transport };
}

async function check(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`failed ${name}: ${String(error?.message ?? error).replaceAll('\n', ' ')}`);
  }
}

function expect(holds, what) {
  if (!holds) throw new Error(`expected ${what}`);
}

async function call(client, name, values = {}, more = {}) {
  const result = await client.callTool({ name, arguments: values }, more);
  const text = result.content.find((part) => part.type === 'text')?.text ?? '';
  expect(!result.isError, `no error, got ${text}`);
  return text;
}

/** Which steps were told before the result, with the time of each. */
async function progress(client) {
  const steps = [];
  await call(client, 'progress', { steps: 6, delayMs: 100 }, {
    onprogress: ({ progress }) => steps.push({ progress, at: performance.now() }),
  });
  return { steps, end: performance.now() };
}

await check('a call without a token is refused', async () => {
  const refused = await connect(options.url).then(() => undefined, (error) => error);
  expect(/401|unauthori[sz]ed/i.test(`${refused?.name} ${refused?.message} ${refused?.status}`), `a 401, got ${refused}`);
});

const { client, transport } = await connect(options.url, options.token);
await check('the revision is negotiated', async () => {
  const negotiated = client.getNegotiatedProtocolVersion();
  expect(negotiated === version, `${version}, got ${negotiated}`);
});
const names = (await client.listTools()).tools.map((tool) => tool.name);
await check('tools are listed', async () => expect(names.includes('echo'), `echo among ${names}`));
await check('a tool is called', async () => {
  const text = await call(client, 'echo', { text: 'häßlich & 日本' });
  expect(text.includes('häßlich & 日本'), `the text back, got ${text}`);
});
await check('progress arrives while the call runs', async () => {
  const { steps, end } = await progress(client);
  expect(steps.length === 6, `6 steps, got ${steps.length}`);
  // Five pauses lie between the first step and the result. Gathered events would come together.
  expect(end - steps[0].at > 250, 'steps one by one');
});
if (names.includes('test_elicitation')) {
  await check('the server asks the user', async () => {
    const text = legacy
      ? await call(client, 'test_elicitation', { message: 'Who are you?' })
      : await call(client, 'test_input_required_result_elicitation');
    expect(text.includes('Ada'), `what the user entered, got ${text}`);
  });
  await check('the server asks the model', async () => {
    const text = legacy
      ? await call(client, 'test_sampling', { prompt: 'What is the capital of France?' })
      : await call(client, 'test_input_required_result_sampling');
    expect(text.includes('Paris'), `what the model said, got ${text}`);
  });
}
if (legacy) {
  await check('a stream that breaks off is taken up again', async () => {
    const cut = await connect(options['cutting-url'], options.token);
    const { steps } = await progress(cut.client);
    const told = steps.map((step) => step.progress);
    expect(told.join() === '1,2,3,4,5,6', `each step once, got ${told}`);
    await cut.client.close();
  });
  await check('a session that was ended is gone', async () => {
    const session = transport.sessionId;
    expect(session, 'a session');
    await transport.terminateSession();
    const response = await fetch(options.url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${options.token}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-session-id': session,
        'mcp-protocol-version': version,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    });
    expect(response.status === 404, `a 404, got ${response.status}`);
  });
} else if (names.includes('test_trigger_tool_change')) {
  await check('a listener is told of changes', async () => {
    const told = new Promise((resolve) => client.setNotificationHandler('notifications/tools/list_changed', resolve));
    const subscription = await client.listen({ toolsListChanged: true });
    await call(client, 'test_trigger_tool_change');
    await told;
    await subscription.close();
  });
}
await client.close();
process.exit();
