"use strict";
const root = document.documentElement;
const buttons = [...document.querySelectorAll("[data-lang]")].filter((each) => each.tagName === "BUTTON");
function speak(language) {
  root.lang = language;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.lang === language));
}
root.classList.add("scripted");
for (const button of buttons) button.addEventListener("click", () => speak(button.dataset.lang));
speak(navigator.language.startsWith("ja") ? "ja" : "en");
