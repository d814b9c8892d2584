(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, cls, text) => {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // Columns of a short record.
  const [ACTIVE, DENSITY, LARGEST, MEAN, CONSISTENCY, TOKENS, PEAKS, WINDOW, LOGITS, NEAREST, CORRELATED, LABEL, BIN, INTERVALS] =
    Array.from({ length: 14 }, (_, i) => i);
  const prefix = DATA.layer === null ? DATA.site + "-" : "L" + DATA.layer + "-";
  const features = DATA.features;
  const dead = (f) => features[f][ACTIVE] === 0;
  const score = (f) => (features[f][CONSISTENCY] ? features[f][CONSISTENCY][0] : -1);
  const interpretable = (f) => Boolean(features[f][CONSISTENCY] && features[f][CONSISTENCY][5]);
  const kurtosis = (f) => (features[f][LOGITS] ? features[f][LOGITS][2] : -1e9);
  // White space and controls of a token, as they can be seen.
  const visible = (text) => text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/\r/g, "␍").replace(/^ /, "␣").replace(/[\u0000-\u001f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  const number = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
    return String(Number(value.toPrecision(3)));
  };
  const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const percent = (value) => (value >= 0.0995 ? (100 * value).toFixed(1) : number(100 * value)) + "\u202f%";

  // --- head ------------------------------------------------------------------------------------------------
  $("name").textContent = DATA.name;
  $("where").textContent = DATA.site + " of " + DATA.model;

  // --- the list --------------------------------------------------------------------------------------------
  const searched = DATA.tokens.map((text) => text.toLowerCase());
  const ROW = 52;
  let shown = [];
  let here = -1;
  const orders = {
    score: (a, b) => score(b) - score(a) || features[b][LARGEST] - features[a][LARGEST],
    largest: (a, b) => features[b][LARGEST] - features[a][LARGEST],
    density: (a, b) => features[b][ACTIVE] - features[a][ACTIVE],
    rare: (a, b) => features[a][ACTIVE] - features[b][ACTIVE],
    kurtosis: (a, b) => kurtosis(b) - kurtosis(a),
    number: () => 0,
  };
  const filters = {
    live: (f) => !dead(f),
    interpretable,
    other: (f) => !dead(f) && !interpretable(f),
    dense: (f) => features[f][DENSITY] > 0.1,
    labelled: (f) => Boolean(features[f][LABEL]),
    dead,
    all: () => true,
  };
  const matcher = (query) => {
    const text = query.toLowerCase();
    if (text.trim() === "") return () => true;
    const named = new RegExp("^(?:l\\d+-)?(\\d+)$").exec(text.trim());
    const hits = new Set();
    searched.forEach((token, i) => {
      if (token.includes(text)) hits.add(i);
    });
    const inList = (list) => list.some((entry) => hits.has(entry[0]));
    return (f) => {
      const record = features[f];
      if (named && String(f).startsWith(named[1])) return true;
      if (record[LABEL] && record[LABEL].toLowerCase().includes(text)) return true;
      if (inList(record[TOKENS]) || inList(record[PEAKS])) return true;
      return record[LOGITS] !== null && inList(record[LOGITS][0].slice(0, 5));
    };
  };
  const refresh = () => {
    const query = $("search").value;
    const named = /^(?:l\d+-)?(\d+)$/i.exec(query.trim());
    const matches = matcher(query);
    const keep = filters[$("show").value];
    shown = [];
    for (let f = 0; f < features.length; f++) if (keep(f) && matches(f)) shown.push(f);
    shown.sort(orders[$("sort").value]);
    if (named) {
      // The feature that was named comes first, whatever is shown.
      const exact = Number(named[1]);
      if (exact < features.length) shown = [exact, ...shown.filter((f) => f !== exact)];
    }
    $("found").textContent = count(shown.length) + " of " + count(features.length) + " features";
    $("filler").style.height = shown.length * ROW + "px";
    $("list").scrollTop = 0;
    draw();
  };
  const words = (record) => {
    if (record[LABEL]) return record[LABEL];
    const list = record[PEAKS].length ? record[PEAKS] : record[TOKENS];
    return list.slice(0, 5).map((entry) => visible(DATA.tokens[entry[0]])).join("  ");
  };
  function draw() {
    const list = $("list");
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 12);
    const items = [];
    for (let i = first; i < last; i++) {
      const f = shown[i];
      const record = features[f];
      const item = make("div", "item" + (f === here ? " here" : ""));
      item.style.top = i * ROW + "px";
      item.dataset.feature = f;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(f === here));
      const line = make("div", "line");
      line.append(make("span", "dot" + (interpretable(f) ? " yes" : "")), make("b", "", prefix + f));
      line.append(make("span", "numbers", dead(f) ? "dead" : percent(record[DENSITY]) + " · max " + number(record[LARGEST])));
      item.append(line, make("div", "words", words(record) || "\u00a0"));
      items.push(item);
    }
    $("filler").replaceChildren(...items);
  }
  $("list").addEventListener("scroll", draw, { passive: true });
  window.addEventListener("resize", draw);
  $("list").addEventListener("click", (event) => {
    const item = event.target.closest(".item");
    if (item) open(Number(item.dataset.feature));
  });
  const step = (by) => {
    if (!shown.length) return;
    const at = shown.indexOf(here);
    const next = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by));
    open(shown[next]);
    const list = $("list");
    const top = next * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /INPUT|SELECT/.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); $("search").focus(); }
    else if (event.key === "Enter" && event.target === $("search") && shown.length) open(shown[0]);
    else if (!typing && (event.key === "j" || event.key === "ArrowDown" && event.target === $("list"))) { event.preventDefault(); step(1); }
    else if (!typing && (event.key === "k" || event.key === "ArrowUp" && event.target === $("list"))) { event.preventDefault(); step(-1); }
  });
  for (const id of ["search", "sort", "show"]) $(id).addEventListener("input", refresh);

  // --- packed records --------------------------------------------------------------------------------------
  const unpack = (f) => {
    const bytes = Uint8Array.from(atob(DATA.packed[f]), (c) => c.charCodeAt(0));
    let at = 0;
    const next = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    };
    const many = (n, read) => Array.from({ length: n }, read);
    const histogram = many(next(), next);
    const groups = many(next(), () => many(next(), () => {
      const length = next();
      const context = { peak: next(), document: next(), tokens: many(length, next), values: new Array(length).fill(0) };
      let index = 0;
      for (let left = next(); left > 0; left--) {
        index += next();
        context.values[index] = bytes[at++] / 255;
      }
      return context;
    }));
    return { histogram, groups };
  };

  // --- pictures --------------------------------------------------------------------------------------------
  const drawing = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const bars = (counts, ends, title) => {
    const [width, height, base] = [420, 118, 96];
    const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
    const most = Math.max(1, ...counts);
    const step = width / Math.max(1, counts.length);
    counts.forEach((value, i) => {
      if (!value) return;
      // Square roots, so that rare bins can be seen.
      const tall = Math.max(1.5, Math.sqrt(value / most) * (base - 8));
      const bar = drawing("rect", { x: i * step + 0.5, y: base - tall, width: Math.max(0.8, step - 1), height: tall });
      bar.append(drawing("title", {}, count(value)));
      svg.append(bar);
    });
    svg.append(drawing("line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5 }));
    ends.forEach((text, i) => {
      const place = ends.length > 1 ? i / (ends.length - 1) : 0;
      const anchor = place === 0 ? "start" : place === 1 ? "end" : "middle";
      svg.append(drawing("text", { x: place * width, y: height - 6, "text-anchor": anchor }, text));
    });
    return svg;
  };
  const tokenElement = (place) => make("span", "token", visible(DATA.tokens[place]));
  const barList = (entries, cls, format) => {
    const box = make("div", "bars " + cls);
    const most = Math.max(1e-9, ...entries.map((entry) => Math.abs(entry[1])));
    for (const entry of entries) {
      const bar = make("div", "bar");
      bar.style.width = Math.round((100 * Math.abs(entry[1])) / most) + "%";
      box.append(tokenElement(entry[0]), bar, make("span", "number", format(entry[1])));
    }
    return box;
  };
  const block = (heading, note, ...content) => {
    const box = make("div");
    const head = make("h4", "", heading);
    if (note) head.append(make("small", "", note));
    box.append(head, ...content);
    return box;
  };
  const tiles = (entries) => {
    const list = make("ul", "tiles");
    for (const [figure, text, about] of entries) {
      const item = make("li");
      item.append(make("b", "", figure), make("span", "", text));
      if (about) item.title = about;
      list.append(item);
    }
    return list;
  };
  const links = (entries) => {
    const box = make("div", "neighbours");
    for (const [feature, value] of entries) {
      const link = make("a", "", prefix + feature);
      link.href = "#" + feature;
      link.title = words(features[feature]);
      link.append(make("small", "", value.toFixed(2)));
      box.append(link);
    }
    if (!entries.length) box.append(make("span", "hint", "none"));
    return box;
  };
  const contextElement = (context, largest) => {
    const box = make("div", "context");
    const text = make("div", "text");
    context.tokens.forEach((token, i) => {
      const value = context.values[i];
      const raw = DATA.tokens[token];
      const piece = make("span", (value > 0 ? "on" : "") + (i === context.peak ? " peak" : ""));
      // Line breaks are shown, and taken back to one line.
      const parts = raw.split("\n");
      parts.forEach((part, j) => {
        if (j) piece.append(make("i", "", "↵"));
        piece.append(part.replace(/[\u0000-\u0008\u000b-\u001f\u202a-\u202e\u2066-\u2069]/g, "\ufffd"));
      });
      if (value > 0) {
        piece.style.backgroundColor = `rgba(var(--heat), ${(0.08 + 0.72 * value).toFixed(3)})`;
        piece.dataset.tip = visible(raw) + "  " + number(value * largest);
      }
      text.append(piece);
    });
    const value = make("div", "value", number(context.values[context.peak] * largest));
    value.title = "document " + context.document;
    box.append(value, text);
    return box;
  };
  const contextList = (contexts, largest) => {
    const box = make("div", "contexts");
    box.append(...contexts.map((context) => contextElement(context, largest)));
    return box;
  };

  // --- a feature -------------------------------------------------------------------------------------------
  function show(f) {
    const record = features[f];
    const main = $("detail");
    const title = make("div", "title");
    title.append(make("h2", "", prefix + f));
    if (dead(f)) title.append(make("span", "badge", "dead"));
    else title.append(make("span", "badge" + (interpretable(f) ? " yes" : ""), interpretable(f) ? "interpretable" : record[CONSISTENCY] ? "no consistent token" : "too few contexts to judge"));
    const steps = make("div", "steps");
    const overview = make("button", "", "Overview");
    overview.addEventListener("click", () => { location.hash = ""; });
    const back = make("button", "", "←");
    back.title = "previous (k)";
    back.addEventListener("click", () => step(-1));
    const forth = make("button", "", "→");
    forth.title = "next (j)";
    forth.addEventListener("click", () => step(1));
    steps.append(overview, back, forth);
    title.append(steps);
    main.replaceChildren(title);
    if (record[LABEL]) main.append(make("p", "label", record[LABEL]));
    if (dead(f)) {
      main.append(make("p", "absent", `Active on none of ${count(DATA.summary.tokens)} tokens. A larger corpus may find it alive.`));
    }
    const consistency = record[CONSISTENCY];
    const { histogram, groups } = unpack(f);
    if (!dead(f)) {
      const facts = [
        [percent(record[DENSITY]), "of tokens (" + count(record[ACTIVE]) + ")", "share of the tokens on which it is active"],
        [number(record[LARGEST]), "largest activation"],
        [number(record[MEAN]), "mean where active"],
      ];
      if (consistency) {
        const offset = consistency[2] === 0 ? "at the peak" : (consistency[2] > 0 ? "+" : "−") + Math.abs(consistency[2]) + " from the peak";
        facts.push([consistency[0].toFixed(2), "consistency", "agreement of top contexts, corrected for chance"]);
        facts.push([percent(consistency[1]), "of pairs agree " + offset, "contexts of features at random: " + percent(consistency[3])]);
      }
      main.append(tiles(facts));
    }
    const columns = make("div", "columns");
    if (!dead(f)) {
      const top = record[BIN] * histogram.length;
      columns.append(block("Activations", "tokens by activation, square-root scale", bars(histogram, ["0", number(top / 2), number(top)], "histogram of activations")));
    }
    if (record[LOGITS]) {
      columns.append(block("Promotes", "direct logit weight", barList(record[LOGITS][0], "up", (v) => v.toFixed(2))));
      columns.append(block("Suppresses", "direct logit weight", barList(record[LOGITS][1], "down", (v) => v.toFixed(2))));
    }
    main.append(columns);
    const second = make("div", "columns");
    if (record[TOKENS].length) second.append(block("Active on", "whole corpus, at least so often", barList(record[TOKENS], "", count)));
    if (record[PEAKS].length) second.append(block("At the peak", "of the top contexts", barList(record[PEAKS], "", count)));
    if (record[WINDOW].length) second.append(block("Around it", "within five tokens of the peak", barList(record[WINDOW], "", count)));
    const near = make("div");
    near.append(block("Nearest", "cosine of decoder directions", links(record[NEAREST])), block("Correlated", "activations of sampled tokens", links(record[CORRELATED])));
    second.append(near);
    main.append(second);
    if (groups[0].length) {
      const heading = make("h3", "", "Top contexts");
      heading.append(make("small", "", "one per document, texts once; the peak is outlined"));
      main.append(heading, contextList(groups[0], record[LARGEST]));
    }
    groups.slice(1).forEach((contexts, i) => {
      if (!contexts.length) return;
      const [from, to, share] = record[INTERVALS][i];
      const heading = make("h3", "", number(from) + " to " + number(to));
      heading.append(make("small", "", "drawn at random from this interval, about " + percent(share) + " of its active tokens"));
      main.append(heading, contextList(contexts, record[LARGEST]));
    });
    main.scrollTop = 0;
  }

  // --- the dictionary --------------------------------------------------------------------------------------
  function overview() {
    const main = $("detail");
    const summary = DATA.summary;
    const title = make("div", "title");
    title.append(make("h2", "", "All features"));
    main.replaceChildren(title);
    const share = (value) => (value === null ? "–" : percent(value));
    main.append(tiles([
      [count(summary.features), "features"],
      [summary.l0.toFixed(1), "active per token (L0)"],
      [percent(summary.dead / summary.features), "dead (" + count(summary.dead) + ")"],
      [count(summary.dense), "dense: on over 10\u202f% of tokens"],
      [share(summary.interpretable_share), "of live features interpretable"],
      [count(summary.tokens), "tokens"],
    ]));
    const columns = make("div", "columns");
    const densities = features.filter((record) => record[ACTIVE] > 0).map((record) => Math.log10(record[DENSITY]));
    const histogram = (values, from, to, bins) => {
      const counts = new Array(bins).fill(0);
      for (const value of values) counts[Math.min(bins - 1, Math.max(0, Math.floor(((value - from) / (to - from)) * bins)))]++;
      return counts;
    };
    if (densities.length) {
      const low = Math.floor(densities.reduce((a, b) => Math.min(a, b), 0));
      columns.append(block("Density", "features by log₁₀ share of tokens", bars(histogram(densities, low, 0, 48), [String(low), String(low / 2), "0"], "densities")));
    }
    const scores = features.filter((record) => record[CONSISTENCY]).map((record) => record[CONSISTENCY][0]);
    if (scores.length) {
      columns.append(block("Consistency", "features by score", bars(histogram(scores, -0.2, 1, 48), ["−0.2", "0.4", "1"], "scores")));
    }
    main.append(columns);
    main.append(make("h3", "", "What the score says"));
    main.append(make("p", "method", "Of a feature's top contexts (one per document, texts once), the chance that two have the same token at one offset within five of the peak, the best offset taken. The control is the same for contexts of features at random; the score is 0 as for these and 1 where all contexts agree. Interpretable: score at least 0.2 and q below 0.05 (permutation, Benjamini–Hochberg over all features judged). Features of a topic or a mood agree in no token and are missed, so the share is a lower bound." + (summary.control_agreement === null ? "" : " Here two contexts of features at random agree in " + percent(summary.control_agreement) + " of pairs.")));
    main.append(make("p", "method", "Promoted and suppressed tokens: decoder row times the final norm's weight times the unembedding, minus the mean over the vocabulary; the norm's scale is left out."));
    main.append(make("h3", "", "What was read"));
    const facts = make("dl");
    for (const [name, text] of [["corpus", DATA.corpus], ["model", DATA.model], ["site", DATA.site], ...DATA.facts]) {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", text));
      facts.append(row);
    }
    main.append(facts);
    main.append(make("p", "hint", "Keys: / searches, j and k go through the list."));
    main.scrollTop = 0;
  }

  function open(f) {
    if (location.hash === "#" + f) go();
    else location.hash = f;
  }
  function go() {
    const f = Number(location.hash.slice(1));
    const valid = location.hash.length > 1 && Number.isInteger(f) && f >= 0 && f < features.length;
    here = valid ? f : -1;
    if (valid) show(f);
    else overview();
    draw();
  }
  window.addEventListener("hashchange", go);

  // --- values under the pointer ----------------------------------------------------------------------------
  const tip = $("tip");
  document.addEventListener("pointermove", (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    tip.style.left = Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = event.clientY + 16 + "px";
  });

  refresh();
  go();
})();
