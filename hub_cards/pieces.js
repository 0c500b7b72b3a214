"use strict";
// Pieces of the report and of the live page. Texts are only ever set as textContent, never as HTML.
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

// A text; one that is longer than so many characters or lines is cut short, with a button that shows all of it.
const unfolding = (words, className, characters, lines) => {
  const holder = document.createDocumentFragment();
  const paragraph = make("p", className, words);
  holder.append(paragraph);
  if (words.length > characters || words.split("\n").length > lines) {
    paragraph.classList.add("clamped");
    const unfold = make("button", "unfold", "show all");
    unfold.type = "button";
    unfold.setAttribute("aria-expanded", "false");
    unfold.addEventListener("click", () => {
      const folded = paragraph.classList.toggle("clamped");
      unfold.textContent = folded ? "show all" : "show less";
      unfold.setAttribute("aria-expanded", String(!folded));
    });
    holder.append(unfold);
  }
  return holder;
};
