import { formatAddress, type Address } from '#kit/address.ts';
import { must, run, type Finished } from './processes.ts';

/** One answer, as curl saw it. */
export interface Curled {
  readonly status: number;
  readonly body: string;
  /** Lower-case names; of a name that came twice, the last. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface CurlOptions {
  readonly host?: string;
  readonly path?: string;
  /** Further arguments: `['-X', 'POST', '-d', 'x']`. */
  readonly args?: readonly string[];
}

/** One request by Debian's curl; rejects when no answer comes within 10 s. */
export async function curl(target: Address, options: CurlOptions = {}): Promise<Curled> {
  const { host, path = '/', args = [] } = options;
  const url = `http://${formatAddress(target)}${path}`;
  const hostHeader = host === undefined ? [] : ['-H', `host: ${host}`];
  const out = await must('curl', ['-sS', '-i', '-m', '10', ...hostHeader, ...args, url]);
  return parseResponse(out);
}

/** The JSON body of an admin path. */
export async function curlJson<T>(target: Address, path: string): Promise<T> {
  const { status, body } = await curl(target, { path });
  if (status !== 200) throw new Error(`${path} of ${formatAddress(target)}: ${status} ${body}`);
  return JSON.parse(body) as T;
}

/** curl where failing is an outcome: its exit code tells. */
export function tryCurl(args: readonly string[]): Promise<Finished> {
  return run('curl', ['-sS', '-m', '10', ...args]);
}

function parseResponse(text: string): Curled {
  const end = text.indexOf('\r\n\r\n');
  const head = text.slice(0, end).split('\r\n');
  const status = Number(/^HTTP\/\S+ (\d{3})/.exec(head[0]!)?.[1]);
  if (!(status >= 200)) throw new Error(`not a final response: ${text.slice(0, 300)}`);
  const headers = head.slice(1).map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
  });
  return { status, body: text.slice(end + 4), headers: Object.fromEntries(headers) };
}
