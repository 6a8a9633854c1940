/** Runs `assertion` every 20 ms until it stops throwing; after `deadlineMs` rethrows what it threw last. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  deadlineMs = 5000,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
