// Doing something again and again while a screen is shown and the tab is looked at.

/** Run `work` now and every `everyMs` until `signal`; a hidden tab waits until it is seen. */
export async function repeat(work, everyMs, signal) {
  await work();
  const again = async () => {
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        if (error.status === 401 || signal.aborted) return;
        if (error.status === undefined) throw error;
      }
    }
    if (!signal.aborted) setTimeout(again, everyMs);
  };
  if (!signal.aborted) setTimeout(again, everyMs);
}

/** Call `tick` each second until `signal`: countdowns. */
export function everySecond(tick, signal) {
  const timer = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
