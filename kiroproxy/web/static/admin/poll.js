// Doing something again and again while a screen is shown and the tab is looked at.

import { warn } from "./ui.js";
import { t, timeOfDay } from "./words.js";

/** Run `work` now and every `everyMs` until `signal`; a hidden tab waits until it is seen. */
export async function repeat(work, everyMs, signal) {
  let good = Date.now();
  let takeBack = null; // of the warning that what is shown is old
  const settle = () => { takeBack?.(); takeBack = null; };
  const again = async () => {
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        await work();
        good = Date.now();
        settle();
      } catch (error) {
        if (error.status === 401 || signal.aborted) return;
        if (error.status === undefined) throw error;
        takeBack ??= warn(error.message, t("What you see is from {time}. It is tried again by itself.", { time: timeOfDay(good) }));
      }
    }
    if (!signal.aborted) setTimeout(again, everyMs);
  };
  signal.addEventListener("abort", settle, { once: true });
  await work();
  if (!signal.aborted) setTimeout(again, everyMs);
}

/** Call `tick` each second until `signal`: countdowns. */
export function everySecond(tick, signal) {
  const timer = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
