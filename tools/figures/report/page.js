"use strict";
(() => {
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);

  const closed = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      closed.push(part);
    }
  });
  addEventListener("afterprint", () => {
    for (const part of closed.splice(0)) part.open = false;
  });

  const cards = [...document.querySelectorAll(".card")];
  if (!cards.length) return;

  // Each picture is in the file only once; the copies below its maps are made here.
  for (const card of cards) {
    const picture = card.querySelector(".picture");
    for (const layer of card.querySelectorAll(".layer")) {
      const base = picture.cloneNode();
      base.classList.replace("picture", "base");
      base.alt = "";
      layer.before(base);
    }
  }

  const show = () => {
    const wanted = find("class").value;
    const checked = document.querySelector("input[name=outcome]:checked");
    const outcome = checked ? checked.value : "";
    let shown = 0;
    for (const card of cards) {
      const fits = (!wanted || card.dataset.class === wanted) && (!outcome || card.dataset.outcome === outcome);
      card.hidden = !fits;
      shown += fits;
    }
    find("count").textContent = `Showing ${shown} of ${cards.length} pictures`;
  };

  const draw = () => {
    const strength = find("strength");
    const text = `${strength.value} %`;
    root.style.setProperty("--strength", strength.value / 100);
    strength.setAttribute("aria-valuetext", text);
    find("strength-text").textContent = text;
    root.classList.toggle("raw", !find("smooth").checked);
    root.classList.toggle("grey", find("grey").checked);
  };

  find("layers").hidden = find("filters").hidden = false;
  find("layers").addEventListener("input", draw);
  find("filters").addEventListener("change", show);
  // Browsers restore the controls of a page that is loaded again.
  addEventListener("pageshow", () => { draw(); show(); });
  draw();
  show();
})();
