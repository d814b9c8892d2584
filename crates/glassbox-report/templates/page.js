"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // Tables: sort by a head, filter by a text.
  for (const table of all("table.data")) {
    const body = table.tBodies[0];
    const value = (row, column) => {
      const cell = row.cells[column];
      if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
      return cell.classList.contains("num") ? NaN : cell.textContent.toLowerCase();
    };
    all("th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") === "descending";
        all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const sign = ascending ? 1 : -1;
        const rows = Array.from(body.rows).map((row) => [value(row, column), row]);
        rows.sort(([one], [other]) => {
          // Missing numbers stay at the end either way.
          if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
          return one < other ? -sign : one > other ? sign : 0;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
    if (body.rows.length > 8) {
      const filter = document.createElement("input");
      filter.className = "filter";
      filter.type = "search";
      filter.placeholder = "filter rows";
      filter.setAttribute("aria-label", "filter rows of the table " + table.dataset.name);
      filter.addEventListener("input", () => {
        const wanted = filter.value.trim().toLowerCase();
        for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      });
      table.parentElement.before(filter);
    }
  }

  // Marks: show what they stand for at once, and light up what belongs together.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const title of all("svg .mark > title")) {
    title.parentElement.dataset.about = title.textContent;
    title.remove();
  }
  const keyed = new Map();
  for (const element of all("[data-key]")) {
    for (const key of element.dataset.key.split("|")) {
      if (!keyed.has(key)) keyed.set(key, []);
      keyed.get(key).push(element);
    }
  }
  let lit = [];
  const dark = () => {
    lit.forEach((element) => element.classList.remove("lit"));
    all(".faded").forEach((element) => element.classList.remove("faded"));
    lit = [];
  };
  const light = (element) => {
    dark();
    const keys = (element.dataset.key || "").split("|").filter(Boolean);
    if (element.classList.contains("link")) lit = [element];
    else lit = keys.flatMap((key) => keyed.get(key) || []);
    lit.forEach((other) => other.classList.add("lit"));
    if (element.classList.contains("node")) {
      for (const link of all(".link", element.ownerSVGElement)) {
        if (!link.dataset.key.split("|").includes(keys[0])) link.classList.add("faded");
      }
    }
  };
  document.addEventListener("pointerover", (event) => {
    const element = event.target.closest && event.target.closest("svg .mark, td[data-key]");
    if (!element) { tip.hidden = true; dark(); return; }
    light(element);
    tip.textContent = element.dataset.about || "";
    tip.hidden = !element.dataset.about;
  });
  document.addEventListener("pointermove", (event) => {
    if (tip.hidden) return;
    const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
    tip.style.left = Math.max(4, right ? event.clientX - tip.offsetWidth - 12 : event.clientX + 16) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4) + "px";
  });

  // Navigation: mark the section in view.
  const links = new Map(all("nav a").map((link) => [link.getAttribute("href").slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.classList.remove("here"));
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  all("section").forEach((section) => watcher.observe(section));
})();
