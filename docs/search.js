// The search takes a dash before a word as "without it", and flags begin with two: `--gsd` is looked for as `gsd`.
for (const event of ["input", "keyup"])
  document.addEventListener(event, ({ target }) => {
    if (target.name !== "query") return;
    const plain = target.value.replace(/(^|\s)-+/g, "$1");
    if (plain !== target.value) target.value = plain;
  }, true);
