// The official TypeScript SDK behind a command line: what a user's own MCP client sees of a server.
//
//   node src/main.js probe   --url URL                          anonymous: the 401 and what its metadata says
//   node src/main.js tools   --url URL                          connect and list the tools
//   node src/main.js call    --url URL TOOL [ARGUMENTS]         connect and call; progress is printed as it arrives
//   node src/main.js session --url URL                          connect once, then one call per line of standard input
//
// Options: --era legacy|modern|auto (which protocol revisions; default auto), --resolve HOST=ADDRESS (repeatable: no
// /etc/hosts), --ca FILE (PEM), --http2, --token TOKEN, or --client-id, --client-secret, --scope, --issuer (OAuth client
// credentials, found by the SDK through the server's own metadata).
//
// Standard output is JSON lines; each has `event` and `ms`, milliseconds since the start. The last one is `done` or
// `error`; the exit code is 0 or 1. Nobody but a program needs to read it, so nothing else is printed.
import { parseArgs } from 'node:util';

import { call, probe, session, tools } from './commands.js';
import { failure, print } from './output.js';

const commands = { probe, tools, call, session };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string' },
    era: { type: 'string', default: 'auto' },
    resolve: { type: 'string', multiple: true, default: [] },
    ca: { type: 'string' },
    http2: { type: 'boolean', default: false },
    token: { type: 'string' },
    'client-id': { type: 'string' },
    'client-secret': { type: 'string' },
    scope: { type: 'string' },
    issuer: { type: 'string' },
  },
});

const [name, ...rest] = positionals;
try {
  const command = commands[name];
  if (!command || !options.url) throw new Error(`usage: main.js ${Object.keys(commands).join('|')} --url URL …`);
  await command(options, rest);
  print('done');
} catch (error) {
  print('error', failure(error));
  process.exitCode = 1;
}
// Keep-alive connections would hold the process for seconds.
process.exit();
