// What both pages are made of: elements, tables, and a box to drop files on.
"use strict";

const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, text, attributes = {}) {
  const one = document.createElement(name);
  one.textContent = text ?? "";
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  return one;
}

function list(id, words) {
  $(id).replaceChildren(...words.map((one) => element("li", one)));
}

function fill(id, head, rows, more = 0) {
  const line = (cells, name) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => element(name, cell ?? "")));
    return row;
  };
  const top = document.createElement("thead");
  const body = document.createElement("tbody");
  top.append(line(head, "th"));
  body.append(...rows.map((cells) => line(cells, "td")));
  if (more > 0) body.append(line([`and ${more} more in the file`], "td"));
  $(id).replaceChildren(top, body);
}

// --- files --------------------------------------------------------------------------------------

function droppable(box, take) {
  for (const name of ["dragenter", "dragover"]) {
    box.addEventListener(name, (event) => {
      event.preventDefault();
      box.classList.add("over");
    });
  }
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
}

// a file dropped beside the box must not replace the page
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
