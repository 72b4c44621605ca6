// Starts everything. The model of a forest is within reach of the console: hardgrad.predict({column: value, ...}).
startTheme();
startNavigation();
if (data.forest) {
  window.hardgrad = model;
  startTrees();
}
startThreshold();
if (data.explorer) startExplorer();
document.documentElement.dataset.ready = "true";
