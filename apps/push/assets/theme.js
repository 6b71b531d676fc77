// Sets the remembered theme before anything is painted, then makes the switch in the header work.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try {
      return localStorage.getItem("skep-theme");
    } catch {
      return null; // Storage may be forbidden; the system's choice still counts.
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  if (remembered()) root.dataset.theme = remembered();

  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector(".theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("skep-theme", root.dataset.theme);
      } catch {
        // Then it holds for this page only.
      }
      show();
    });
    system.addEventListener("change", show);
    show();
    button.hidden = false;
  });
})();
