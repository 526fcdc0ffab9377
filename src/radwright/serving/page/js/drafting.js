/**
 * A study's draft while it is awaited: followed word by word, asked for anew with other clues.
 */
import { follow, json, studyPath } from "./api.js";
import { announce, toast } from "./dom.js";

const AGAIN_MS = 3000;
const MOST_TRIES = 200;

/** Follows the drafts of one study page. */
export class Drafting {
  /** @param {import("./study.js").StudyPage} page */
  constructor(page) {
    this.page = page;
    this.writing = false;
    this.before = "";
    this.awaited = 0;
    this.triesLeft = 0;
    this.state = "";
    this.stop = () => {};
  }

  get gone() {
    return this.page.ended.signal.aborted;
  }

  /** Follows where a draft is awaited: the first one, or another that somebody has asked for. */
  start() {
    const { drafting, draft, study } = this.page.data;
    if (!drafting && study.state !== "waiting" && study.state !== "receiving") return;
    this.awaited = (draft?.number ?? 0) + 1;
    this.triesLeft = MOST_TRIES;
    if (draft) this.before = this.page.report.text;
    this.follow();
  }

  follow() {
    const { report } = this.page;
    this.stop();
    this.writing = true;
    report.draw();
    report.write("", "Waiting for the network\u2026");
    this.stop = follow(this.page.id, {
      state: (now) => {
        this.state = now.state;
        if (now.state !== this.page.data.study.state) this.page.bringImages().catch(() => {});
        report.write("", waitingWords(now.state, now.ahead ?? 0));
      },
      text: ({ text }) => report.write(text, "The network writes\u2026"),
      draft: ({ draft }) => {
        // Whoever asks at once for the next draft may still be told of the last one.
        if (draft.number >= this.awaited || this.triesLeft <= 0) this.end();
        else setTimeout(() => this.gone || this.follow(), AGAIN_MS / 4);
        this.triesLeft -= 1;
      },
      failed: ({ reason }) => this.end(reason),
      error: (ended) => {
        // Of a study that is still coming in, the server ends the stream each time: there is no draft to wait for yet.
        if (this.state !== "receiving") report.write(report.streamText?.textContent ?? "", "The connection broke; trying again\u2026");
        if (ended) setTimeout(() => this.writing && !this.gone && this.follow(), AGAIN_MS);
      },
    });
  }

  /** @param {string} [reason] why no draft came */
  async end(reason) {
    this.writing = false;
    this.stop();
    const before = this.before;
    this.before = "";
    this.awaited = 0;
    try {
      await this.page.reload();
    } finally {
      this.page.report.endWriting();
    }
    if (reason !== undefined) toast(`No draft: ${reason}`);
    else if (before && this.page.data.draft) this.page.report.offer(before);
    else announce("The draft is there.");
    this.page.draw();
  }

  /**
   * Asks for another draft; what stands in the report stays until a person chooses.
   * @param {import("./clues.js").Forced} forced
   */
  async redraft(forced) {
    const { page } = this;
    if (page.report.editor !== null) await page.report.endEditing();
    if (!(await page.saver.save())) return;
    try {
      await json(studyPath(page.id, "drafts"), {
        method: "POST",
        body: { clues: forced },
        again: true,
        onWait: (seconds) => toast(`The queue is full; asking again in ${seconds} s.`),
      });
    } catch (error) {
      toast(error.message);
      return;
    }
    this.before = page.report.text;
    this.awaited = (page.data.draft?.number ?? 0) + 1;
    this.triesLeft = MOST_TRIES;
    this.follow();
    page.draw();
    page.report.stream.scrollIntoView({ block: "nearest" });
  }
}

/**
 * @param {string} state
 * @param {number} ahead
 */
function waitingWords(state, ahead) {
  if (state === "receiving") return "Images are still coming in.";
  if (ahead > 0) return `Waiting: ${ahead} ${ahead === 1 ? "study" : "studies"} ahead.`;
  return "The network reads the images\u2026";
}
