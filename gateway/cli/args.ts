export { parseFlags, usageError } from '#kit/flags.ts';
