// The language of the index: the one chosen before, or the browser's.
"use strict";

const root = document.documentElement;
root.classList.add("scripted");
const buttons = [...document.querySelectorAll("[data-language]")];

function speak(language) {
  root.lang = language;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.language === language));
}

function kept() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null; // A browser may keep nothing for a file.
  }
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    speak(button.dataset.language);
    try {
      localStorage.setItem("language", root.lang);
    } catch {
      // As above.
    }
  });
}
const wanted = [kept(), ...navigator.languages].filter(Boolean).map((each) => each.slice(0, 2));
speak(wanted.find((each) => buttons.some((button) => button.dataset.language === each)) || "en");
