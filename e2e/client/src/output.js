// JSON lines on standard output.
import { writeSync } from 'node:fs';

const started = performance.now();

/** Prints one event. Synchronous, so that the time of arrival is the time of printing and nothing is lost at exit. */
export function print(event, fields = {}) {
  writeSync(1, `${JSON.stringify({ event, ms: Math.round(performance.now() - started), ...fields })}\n`);
}

/** What is known of an error: the SDK's errors carry a code and, where HTTP failed, a status. */
export function failure(error) {
  const { name, message, code, status } = error;
  const cause = error.cause?.message;
  return { name, message, code, status, cause };
}
