
"use strict";
// Lists that can be searched. What comes from data is only ever set as text, never as markup.

const PAGE = 20;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

// Text in pieces, each a string and whether it is marked.
function pieces(parts) {
  const box = element("div", "text");
  for (const [text, marked] of parts) box.append(marked ? element("mark", "", text) : document.createTextNode(text));
  return box;
}

function pair(row) {
  const box = element("article", "row");
  box.append(element("h4", "", row.verdict));
  const sides = element("div", "pair");
  for (const [label, parts] of row.sides) {
    const side = element("div");
    side.append(element("div", "label", label), pieces(parts));
    sides.append(side);
  }
  box.append(sides);
  return box;
}

function folded(title, text) {
  const details = element("details");
  details.append(element("summary", "", title), element("div", "text", text));
  return details;
}

function answer(row) {
  const box = element("article", "row");
  box.append(element("h4", "", row.title), element("div", "text", row.question));
  if (row.reasoning) box.append(folded("Reasoning", row.reasoning));
  box.append(element("div", "label", "Answer"), element("div", "text", row.answer));
  return box;
}

const KINDS = {
  pair: { show: pair, text: (row) => [row.verdict, ...row.sides.flatMap(([label, parts]) => [label, ...parts.map((part) => part[0])])] },
  answer: { show: answer, text: (row) => [row.title, row.question, row.reasoning, row.answer] },
};

function browser(box, { kind, rows }) {
  const { show, text } = KINDS[kind];
  const texts = rows.map((row) => text(row).join("\n").toLowerCase());
  const groups = [...new Set(rows.map((row) => row.group))].sort();
  const search = element("input");
  search.type = "search";
  search.placeholder = "Search";
  search.setAttribute("aria-label", "Search");
  const choice = element("select");
  choice.setAttribute("aria-label", "Choose");
  for (const group of ["", ...groups]) {
    const option = element("option", "", group || "all");
    option.value = group;
    choice.append(option);
  }
  const count = element("span", "label");
  const list = element("div", "list");
  const more = element("button", "", "Show more");
  let found = [];
  let shown = 0;

  function grow() {
    for (const place of found.slice(shown, shown + PAGE)) list.append(show(rows[place]));
    shown = Math.min(shown + PAGE, found.length);
    more.hidden = shown >= found.length;
    count.textContent = `${found.length} of ${rows.length}`;
  }

  function update() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.map((_, place) => place).filter((place) =>
      (!choice.value || rows[place].group === choice.value) && wanted.every((word) => texts[place].includes(word)));
    list.replaceChildren();
    shown = 0;
    grow();
  }

  search.addEventListener("input", update);
  choice.addEventListener("change", update);
  more.addEventListener("click", grow);
  const tools = element("div", "tools");
  tools.append(search, ...(groups.length > 1 ? [choice] : []), count);
  box.append(tools, list, more);
  update();
}

const lists = JSON.parse(document.getElementById("data").textContent);
for (const box of document.querySelectorAll(".browser")) browser(box, lists[box.dataset.list]);
