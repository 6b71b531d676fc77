// Sets the remembered theme before anything is painted.
(() => {
  try {
    const theme = localStorage.getItem("skep-theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; the system's choice holds then.
  }
})();
