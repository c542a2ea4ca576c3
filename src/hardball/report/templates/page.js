"use strict";
// Charts: what the pointer or the arrow keys are at. The drawing itself needs no script.
for (const plot of document.querySelectorAll(".plot")) {
  const { width, points } = JSON.parse(plot.querySelector("script").textContent);
  const tip = plot.querySelector(".tip"), guide = plot.querySelector(".guide");
  const looks = [...plot.querySelectorAll("svg > g:not(.axes)")].map((line) => line.classList[0]);
  let now = points.length - 1;
  const read = (place) => {
    now = Math.max(0, Math.min(points.length - 1, place));
    const point = points[now], head = document.createElement("strong");
    head.textContent = point.text;
    tip.replaceChildren(head, ...point.at.map((one) => {
      const row = document.createElement("div");
      row.className = looks[one.line];
      row.textContent = one.text;
      return row;
    }));
    guide.setAttribute("transform", `translate(${point.x})`);
    const share = point.x / width;
    tip.style.left = share < 0.5 ? `calc(${100 * share}% + 10px)` : "auto";
    tip.style.right = share < 0.5 ? "auto" : `calc(${100 - 100 * share}% + 10px)`;
    plot.classList.add("reads");
  };
  const leave = () => plot.classList.remove("reads");
  const point = (event) => {
    const box = plot.querySelector("svg").getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    let nearest = 0;
    points.forEach((one, place) => {
      if (Math.abs(one.x - at) < Math.abs(points[nearest].x - at)) nearest = place;
    });
    read(nearest);
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", () => plot === document.activeElement || leave());
  plot.addEventListener("focus", () => read(now));
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const places = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: points.length - 1 };
    if (event.key in places) {
      read(places[event.key]);
      event.preventDefault();
    } else if (event.key === "Escape") leave();
  });
}
// Adversarial examples: one image at one ε, for every network. The pictures are those of the table.
document.querySelectorAll(".gallery").forEach((gallery, number) => {
  const data = JSON.parse(gallery.querySelector("script").textContent);
  const cells = [...gallery.querySelectorAll("table.strip")].map((table) =>
    [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1)));
  const slider = gallery.querySelector("input[type=range]"), output = gallery.querySelector("output");
  const made = (name, className, text) => {
    const element = document.createElement(name);
    element.className = className ?? "";
    element.textContent = text ?? "";
    return element;
  };
  const pictured = (parent) => {
    const figure = parent.appendChild(made("figure"));
    return { img: figure.appendChild(made("img")), text: figure.appendChild(made("figcaption")) };
  };
  let image = 0;
  const networks = data.networks.map((network) => {
    const box = gallery.querySelector(".networks").appendChild(made("div", "network"));
    box.appendChild(made("h4", "", network.name));
    const views = box.appendChild(made("div", "views"));
    const [clean, change, seen] = [pictured(views), pictured(views), pictured(views)];
    const answer = views.appendChild(made("div", "answer"));
    const said = answer.appendChild(made("p"));
    said.setAttribute("aria-live", "polite");
    return { network, clean, change, seen, said, sure: answer.appendChild(made("div", "sure")) };
  });
  const show = () => {
    const at = Number(slider.value), eps = data.eps[at];
    output.textContent = eps;
    slider.setAttribute("aria-valuetext", `ε = ${eps}`);
    networks.forEach((one, k) => {
      const row = cells[k][image], [seen, change] = row[at].querySelectorAll("img");
      const told = one.network.answers[image][at];
      const copy = (view, from, text) => {
        view.img.src = from.src;
        view.img.alt = from.alt;
        view.text.textContent = text;
      };
      copy(one.clean, row[0].querySelector("img"), `image, class ${data.labels[image]}`);
      copy(one.change, change || row[0].querySelector("img"), change ? `perturbation, ${told.scale}` : "no perturbation");
      one.change.img.style.visibility = change ? "visible" : "hidden";
      copy(one.seen, seen, "what the network sees");
      const right = told.answer === data.labels[image];
      const word = made("span", right ? "badge good" : "badge bad", right ? "right" : "wrong");
      one.said.replaceChildren(made("strong", "", `predicted ${told.answer}, ${told.share}`), " ", word, ` (${told.by})`);
      one.sure.replaceChildren(...told.sure.flatMap(([name, text, share]) => {
        const label = made("span", name === data.labels[image] ? "true" : "", name);
        const bar = made("i", name === data.labels[image] ? "" : "wrong"), filled = bar.appendChild(made("b"));
        filled.style.width = `${100 * share}%`;
        return [label, bar, made("span", "", text)];
      }));
    });
  };
  const pick = gallery.querySelector(".pick");
  data.images.forEach((name, place) => {
    const label = pick.appendChild(made("label")), input = label.appendChild(made("input"));
    Object.assign(input, { type: "radio", name: `image${number}`, checked: place === 0 });
    input.setAttribute("aria-label", name);
    input.addEventListener("change", () => { image = place; show(); });
    const thumb = label.appendChild(made("img"));
    thumb.src = cells[0][place][0].querySelector("img").src;
    thumb.alt = "";
    label.title = name;
  });
  slider.addEventListener("input", show);
  show();
  gallery.querySelector(".viewer").hidden = false;
  gallery.querySelector(".strips").open = false;
});
// On paper everything that says how the page was made is open.
addEventListener("beforeprint", () => document.querySelectorAll(".made").forEach((one) => { one.open = true; }));
