// The page's own furniture.
function startTheme() {
  const root = document.documentElement, names = { auto: "Auto", light: "Light", dark: "Dark" }, order = ["auto", "light", "dark"];
  let theme = root.dataset.theme || "auto";
  const show = () => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    $("theme-name").textContent = names[theme];
    $("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "follow the system" : theme}. Change`);
  };
  $("theme").addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    try { localStorage.setItem("hardgrad-theme", theme); } catch (error) { void error; }
    show();
  });
  show();
}

function startNavigation() {
  const links = new Map(Array.from(document.querySelectorAll(".bar nav a"), (link) => [link.getAttribute("href").slice(1), link]));
  const seen = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const first = Array.from(links.keys()).find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-15% 0px -60% 0px" });
  for (const id of links.keys()) if ($(id)) observer.observe($(id));
}
