import init from "./fog_ui.js";

// Colours first: the saved choice must hold before anything is painted.
const theme = localStorage.getItem("theme");
if (theme === "light" || theme === "dark") {
  document.documentElement.dataset.theme = theme;
}
init({ module_or_path: "./fog_ui_bg.wasm" });
