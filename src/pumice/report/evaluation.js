for (const bar of document.querySelectorAll(".filters")) {
  const cards = bar.parentElement.querySelectorAll(".card");
  const wanted = { verdict: "", group: "" };
  bar.hidden = false;
  bar.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (!pressed) return;
    const { key, value } = pressed.dataset;
    wanted[key] = value;
    for (const button of bar.querySelectorAll("button")) {
      if (button.dataset.key === key) button.setAttribute("aria-pressed", String(button === pressed));
    }
    for (const card of cards) {
      card.hidden = Object.keys(wanted).some((each) => wanted[each] && card.dataset[each] !== wanted[each]);
    }
  });
}
