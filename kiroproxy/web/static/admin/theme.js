// Runs before the first paint, so that a dark page does not flash white.
(() => {
  const asked = localStorage.getItem("kiroproxy.theme");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = asked || (dark ? "dark" : "light");
})();
