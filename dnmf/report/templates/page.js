"use strict";
// Everything here is added to a page that can be read without it: the theme, downloads, and reading a chart's points.
const make = (name, words, act) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  if (name) button.setAttribute("aria-label", name);
  button.addEventListener("click", act);
  return button;
};
const save = (content, kind, name) => {
  const link = document.createElement("a");
  link.download = name;
  link.href = typeof content === "string" && content.startsWith("data:") ? content
    : URL.createObjectURL(new Blob([content], { type: kind }));
  link.click();
  if (link.href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const PAINT = [
  "fill", "stroke", "paint-order", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "text-anchor",
];
const asSvg = (chart) => {
  const copy = chart.cloneNode(true);
  const [, , width, height] = chart.getAttribute("viewBox").split(" ");
  const own = [chart, ...chart.querySelectorAll("*")], copied = [copy, ...copy.querySelectorAll("*")];
  own.forEach((from, i) => {
    const style = getComputedStyle(from);
    for (const name of PAINT) copied[i].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll(".cursor, .dot").forEach((mark) => mark.remove());
  const sheet = document.createElementNS(chart.namespaceURI, "rect");
  for (const [name, value] of Object.entries({ width, height, fill: getComputedStyle(chart.closest("section")).backgroundColor })) {
    sheet.setAttribute(name, value);
  }
  copy.prepend(sheet);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.removeAttribute("data-points");
  copy.removeAttribute("tabindex");
  return new XMLSerializer().serializeToString(copy);
};
const asPng = (chart, name) => {
  const image = new Image(), box = chart.viewBox.baseVal, scale = 3;
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [box.width * scale, box.height * scale];
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, "image/png", name));
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(asSvg(chart));
};
const asCsv = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => {
  const words = cell.dataset.value ?? cell.textContent;
  return /[",\n\r]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
}).join(",")).join("\r\n") + "\r\n";

for (const figure of document.querySelectorAll("figure[data-name]")) {
  const name = figure.dataset.name, tools = document.createElement("div");
  tools.className = "tools";
  const chart = figure.querySelector("svg.chart"), image = figure.querySelector("img");
  if (chart && chart.dataset.points) {
    const points = JSON.parse(chart.dataset.points), readout = document.createElement("output");
    readout.textContent = "";
    tools.append(readout);
    chart.setAttribute("tabindex", "0");
    const line = document.createElementNS(chart.namespaceURI, "path");
    const dot = document.createElementNS(chart.namespaceURI, "circle");
    line.setAttribute("class", "cursor");
    dot.setAttribute("class", "dot");
    dot.setAttribute("r", "4");
    let at = -1;
    const show = (next) => {
      at = Math.max(0, Math.min(points.length - 1, next));
      const [x, y, words] = points[at];
      line.setAttribute("d", `M${x} 14V${chart.viewBox.baseVal.height - 42}`);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      if (chart.dataset.rows === undefined) chart.append(line);
      chart.append(dot);
      readout.textContent = words;
    };
    const near = (event) => {
      const box = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      const far = ([a, b]) => (chart.dataset.rows === undefined ? Math.abs(a - x) * 20 : 0) + Math.abs(b - y);
      show(points.reduce((best, point, i) => (far(point) < far(points[best]) ? i : best), 0));
    };
    chart.addEventListener("pointermove", near);
    chart.addEventListener("pointerdown", near);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -points.length, End: points.length };
      if (!(event.key in step)) return;
      event.preventDefault();
      show(at < 0 ? 0 : at + step[event.key]);
    });
  }
  if (chart) {
    tools.append(make(`Download ${name} as SVG`, "SVG", () => save(asSvg(chart), "image/svg+xml", `${name}.svg`)));
    tools.append(make(`Download ${name} as PNG`, "PNG", () => asPng(chart, `${name}.png`)));
  } else if (image) {
    tools.append(make(`Download ${name} as PNG`, "PNG", () => save(image.src, "image/png", `${name}.png`)));
  }
  const table = figure.querySelector("table");
  if (table) tools.append(make(`Download ${name} as CSV`, "CSV", () => save(asCsv(table), "text/csv", `${name}.csv`)));
  if (tools.children.length) figure.append(tools);
}
for (const code of document.querySelectorAll("pre")) {
  const words = code.textContent;
  const button = make("Copy this command", "copy", async () => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code.firstChild);
    }
  });
  button.className = "copy";
  code.append(button);
}
const themes = ["auto", "light", "dark"], theme = make(null, "", () => {
  const root = document.documentElement, next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % 3];
  if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
  showTheme();
});
const showTheme = () => { theme.textContent = `Theme: ${document.documentElement.dataset.theme ?? "auto"}`; };
theme.id = "theme";
showTheme();
document.getElementById("top").append(theme);
