"use strict";
const entries = JSON.parse(document.getElementById("entries").textContent);
const query = document.getElementById("query"), found = document.getElementById("found"), count = document.getElementById("count");
const folded = entries.map((entry) => (entry.title + " " + entry.text).toLowerCase());
const excerpt = (text, word) => {
  const at = Math.max(0, text.toLowerCase().indexOf(word) - 60);
  return (at ? "… " : "") + text.slice(at, at + 200) + (at + 200 < text.length ? " …" : "");
};
const search = () => {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length ? entries.filter((_, i) => words.every((word) => folded[i].includes(word))) : [];
  found.replaceChildren(...hits.slice(0, 100).map((entry) => {
    const item = document.createElement("li"), link = document.createElement("a"), text = document.createElement("p");
    link.href = entry.address;
    link.textContent = entry.title;
    text.textContent = excerpt(entry.text, words[0]);
    item.append(link, text);
    return item;
  }));
  count.textContent = words.length ? hits.length + (hits.length === 1 ? " place" : " places") : "";
};
query.addEventListener("input", search);
search();
