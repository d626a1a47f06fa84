// How requests leave: to chosen addresses, trusting a chosen authority, by HTTP/1.1 or h2. This stands in for the DNS
// record and the public certificate that a real installation has; everything above it is the SDK's own.
import { readFileSync } from 'node:fs';
import { lookup as systemLookup } from 'node:dns';
import { rootCertificates } from 'node:tls';

import { Agent, fetch as undiciFetch } from 'undici';

/** A `fetch` with the network options of the command line. */
export function fetchWith({ resolve, ca, http2 }) {
  const addresses = new Map(resolve.map((pair) => pair.split('=', 2)));
  const dispatcher = new Agent({
    allowH2: http2,
    // A stream may be silent for longer than undici's five minutes.
    bodyTimeout: 0,
    headersTimeout: 0,
    connect: {
      ca: ca && [...rootCertificates, readFileSync(ca, 'utf8')],
      lookup: (host, options, done) => {
        const address = addresses.get(host);
        if (!address) return systemLookup(host, options, done);
        const family = address.includes(':') ? 6 : 4;
        return options.all ? done(null, [{ address, family }]) : done(null, address, family);
      },
    },
  });
  return (url, init) => undiciFetch(url, { ...init, dispatcher });
}
