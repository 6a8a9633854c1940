/**
 * The direct latin1 and hex entrances of Buffer, documented in Node only through `toString('latin1')` and
 * `write(…, 'latin1')`: they skip the encoding switch, which is measurable when called per request.
 */
interface Buffer {
  latin1Slice(start: number, end: number): string;
  hexSlice(start: number, end: number): string;
  latin1Write(text: string, offset: number, length?: number): number;
}
