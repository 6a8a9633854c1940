export async function runGateway(argv: readonly string[]): Promise<number> {
  throw new Error(`not here: ${argv.join(' ')}`);
}
