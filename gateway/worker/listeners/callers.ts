import { readFile } from 'node:fs/promises';
import { isIPv4, type Socket } from 'node:net';
import { endianness } from 'node:os';

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const;
/** TCP_ESTABLISHED: a socket that its process has closed belongs to nobody, and shows as root's. */
const ESTABLISHED = '01';

type Found = (uid: number | undefined) => void;

/**
 * Which Unix user is at the other end of a connection from this machine, by the kernel's table of
 * sockets. One read of the table serves all connections that came before it, so that a burst costs
 * one read and not one each.
 */
export class SocketOwners {
  #waiting: (readonly [keys: readonly string[], found: Found])[] = [];
  #isReading = false;

  /** Calls back once; undefined when the peer is not on this machine or already gone. */
  find(socket: Socket, found: Found): void {
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    if (remoteAddress === undefined || localAddress === undefined) {
      found(undefined);
      return;
    }
    const asked = keys([remoteAddress, remotePort ?? 0], [localAddress, localPort ?? 0]);
    this.#waiting.push([asked, found]);
    if (!this.#isReading) void this.#read();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    while (this.#waiting.length > 0) {
      const asked = this.#waiting;
      this.#waiting = [];
      const tables = await Promise.all(
        TABLES.map((file) => readFile(file, 'latin1').catch(() => '')),
      );
      for (const [wanted, found] of asked) found(ownerIn(tables, wanted));
    }
    this.#isReading = false;
  }
}

/**
 * Row: `sl: local remote state queues timers retransmits uid timeout inode …` (proc(5)).
 *
 * @param wanted spellings of the two ends, see `keys`
 */
export function ownerIn(tables: readonly string[], wanted: readonly string[]): number | undefined {
  for (const table of tables) {
    for (const key of wanted) {
      const at = table.indexOf(` ${key} `);
      if (at < 0) continue;
      const columns = table
        .slice(at + key.length + 2, table.indexOf('\n', at))
        .trim()
        .split(/\s+/);
      const [, , , uid = '', , inode = '0'] = columns;
      if (inode !== '0' && /^\d+$/.test(uid)) return Number(uid);
    }
  }
  return undefined;
}

type End = readonly [address: string, port: number];

/** The client's row: its end, ours, and that it is open. An IPv6 socket can dial a mapped IPv4 address. */
export function keys(client: End, own: End): readonly string[] {
  const spellings = [client, own].map(([address, port]) => {
    const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    return hexAddresses(address).map((hex) => hex + suffix);
  });
  const [clients = [], owns = []] = spellings;
  return clients.map((end, i) => `${end} ${owns[i] ?? ''} ${ESTABLISHED}`);
}

/** As the table spells it, in 32-bit words of the machine's byte order; IPv4 also as a mapped IPv6 address. */
function hexAddresses(address: string): readonly string[] {
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  if (isIPv4(plain)) {
    const word = hexWord(plain.split('.').map(Number));
    return [word, `0000000000000000${hexWord([0, 0, 255, 255])}${word}`];
  }
  const groups = fullIPv6(plain).flatMap((group) => [group >> 8, group & 255]);
  return [[0, 4, 8, 12].map((at) => hexWord(groups.slice(at, at + 4))).join('')];
}

function hexWord(bytes: readonly number[]): string {
  const ordered = endianness() === 'LE' ? bytes.toReversed() : bytes;
  return ordered.map((byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join('');
}

/** `::1` as its eight groups. */
function fullIPv6(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}
