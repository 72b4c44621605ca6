// Runs before the page is drawn, so that a chosen theme never flashes. Storage may be forbidden for local files: then nothing is kept.
try {
  const theme = localStorage.getItem("hardgrad-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch (error) { void error; }
