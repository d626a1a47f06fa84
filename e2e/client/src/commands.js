// One function a command.
import { createInterface } from 'node:readline';

import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
  extractWWWAuthenticateParams,
} from '@modelcontextprotocol/client';

import { fetchWith } from './network.js';
import { failure, print } from './output.js';

const negotiation = {
  legacy: { mode: 'legacy' },
  modern: { mode: { pin: '2026-07-28' } },
  auto: { mode: 'auto' },
};

/** Asks without a token, as a client does that knows nothing but the URL, and fetches the metadata it is sent to. */
export async function probe(options) {
  const fetch = fetchWith(options);
  const response = await fetch(options.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'e2e', version: '0.1.0' } },
    }),
  });
  await response.text();
  const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(response);
  print('answer', { status: response.status, resourceMetadataUrl: resourceMetadataUrl?.href, scope });
  if (!resourceMetadataUrl) return;
  const metadata = await fetch(resourceMetadataUrl);
  print('metadata', { status: metadata.status, document: await metadata.json() });
}

export async function tools(options) {
  const client = await connect(options);
  const { tools } = await client.listTools();
  print('tools', { names: tools.map((tool) => tool.name) });
  await client.close();
}

export async function call(options, [tool, text = '{}']) {
  const client = await connect(options);
  await callTool(client, tool, JSON.parse(text));
  await client.close();
}

/** Keeps one client connected; each line of standard input, `{"tool": …, "arguments": …}`, is one call. */
export async function session(options) {
  const client = await connect(options);
  for await (const line of createInterface({ input: process.stdin })) {
    const { tool, arguments: values } = JSON.parse(line);
    await callTool(client, tool, values).catch((error) => print('failed', { tool, ...failure(error) }));
  }
  await client.close();
}

async function connect(options) {
  const versionNegotiation = negotiation[options.era];
  if (!versionNegotiation) throw new Error(`--era is one of ${Object.keys(negotiation).join(', ')}`);
  const client = new Client({ name: 'mcp-operator-e2e', version: '0.1.0' }, { versionNegotiation });
  // What the SDK tries again by itself (a cut stream, say): worth seeing, not fatal.
  client.onerror = (error) => print('warning', failure(error));
  const transport = new StreamableHTTPClientTransport(new URL(options.url), {
    authProvider: credentials(options),
    fetch: fetchWith(options),
  });
  await client.connect(transport);
  print('connected', {
    protocolVersion: client.getNegotiatedProtocolVersion(),
    era: client.getProtocolEra(),
    server: client.getServerVersion(),
    session: Boolean(transport.sessionId),
  });
  return client;
}

function credentials(options) {
  if (options.token) return { token: async () => options.token };
  if (!options['client-id']) return undefined;
  return new ClientCredentialsProvider({
    clientId: options['client-id'],
    clientSecret: options['client-secret'],
    scope: options.scope,
    expectedIssuer: options.issuer,
  });
}

async function callTool(client, name, values) {
  const result = await client.callTool(
    { name, arguments: values },
    {
      onprogress: ({ progress, total, message }) => print('progress', { progress, total, message }),
      timeout: 600_000,
    },
  );
  const text = result.content?.filter((part) => part.type === 'text').map((part) => part.text);
  print('result', { tool: name, isError: result.isError ?? false, text, structured: result.structuredContent });
}
