/**
 * The keys of a study: report and way through the worklist. Those of the images are the viewer's.
 */

/**
 * @param {import("./study.js").StudyPage} page
 * @returns {import("./shortcuts.js").Shortcut[]}
 */
export function studyKeys(page) {
  const group = "Report";
  const way = "Study";
  const go = (/** @type {string} */ hash) => {
    location.hash = hash;
  };
  return [
    { keys: ["j"], label: "next sentence, with its evidence", group, run: () => page.report.list?.move(1) },
    { keys: ["k"], label: "sentence before", group, run: () => page.report.list?.move(-1) },
    { keys: ["e"], label: "edit, at the sentence", group, run: () => page.report.edit() },
    { keys: ["y"], label: "let an uncertain sentence stand; again: take that back", group, run: () => page.report.accept() },
    { keys: ["d"], label: "changes from the draft", group, run: () => page.report.toggleDiff() },
    { keys: ["s"], label: "sign", group, run: () => page.sign() },
    { keys: ["a"], label: "add to a signed report", group, run: () => page.add() },
    { keys: ["o"], label: "export", group, run: () => page.export() },
    { keys: ["c"], label: "findings, clues, versions in turn", group, run: () => page.turnTabs() },
    { keys: ["n"], label: "next study of the worklist", group: way, run: () => page.next() && go(`#/study/${page.next()}`) },
    { keys: ["w"], label: "back to the worklist", group: way, run: () => go("#/") },
  ];
}
