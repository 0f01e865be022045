// A person at JupyterLab: runs a lesson, looks at its pictures, starts a training, presses stop, goes on.
// Prints what was seen as JSON; test_browser.py judges it.
//
//   node lab.mjs CHROMIUM ADDRESS FOLDER CELLS  ADDRESS of the notebook, with token; FOLDER for profile and screenshots;
//                                               CELLS: number of its code cells

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [program, address, folder, number] = process.argv.slice(2);
const PATIENCE = 180_000; // a busy machine compiles slowly
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const context = await chromium.launchPersistentContext(mkdtempSync(join(folder, "profile-")), {
  executablePath: program, headless: true, args: FLAGS, viewport: { width: 1280, height: 900 },
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(PATIENCE);
const picture = (name) => page.screenshot({ path: join(folder, `${name}.png`) });

const panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)");
const cells = panel.locator(".jp-CodeCell");
const ERROR = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]';
const button = (command) => panel.locator(`.jp-NotebookPanel-toolbar [data-command="${command}"]`);

async function idle() {
  await panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').waitFor();
}

async function menu(name, entry) {
  await page.locator(".lm-MenuBar-itemLabel", { hasText: new RegExp(`^${name}$`) }).click();
  await page.locator(".lm-Menu-itemLabel", { hasText: new RegExp(`^${entry}$`) }).click();
}

/// The number in front of each code cell that is on the page.
const counts = () =>
  cells.locator(".jp-InputPrompt").evaluateAll((all) => all.map((prompt) => Number(prompt.textContent.replace(/\D/g, ""))));

async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    const found = await holds();
    if (found) return found;
    await page.waitForTimeout(200);
  }
  throw new Error(`never came: ${what}`);
}

/// A cell at the end of the notebook, run; its place on the page.
async function run(code) {
  await button("notebook:insert-cell-below").click();
  const cell = panel.locator(".jp-Cell.jp-mod-active");
  await cell.locator(".cm-content").click();
  await page.keyboard.insertText(code);
  await page.keyboard.press("Control+Enter");
  return cell;
}

const seen = {};
try {
  await page.goto(address);
  await panel.locator(".jp-Notebook").waitFor();
  const kernel = panel.locator(".jp-KernelName, .jp-Toolbar-kernelName").first();
  await until("the kernel's name", async () => (await kernel.textContent()).includes("Paella"));
  seen.kernel = (await kernel.textContent()).trim();
  await idle();

  // on a slow machine the cells come onto the page one after the other
  await until("all cells", async () => (await counts()).length >= Number(number));
  seen.changed = await page.locator(".lm-TabBar-tab.jp-mod-dirty").count();
  seen.before = { counts: await counts(), images: await panel.locator(".jp-OutputArea img").count() };
  await menu("Run", "Run All Cells");
  await until("the number of the last cell", async () => (await counts()).every((count) => count > 0));
  await idle();
  seen.counts = await counts();
  seen.errors = await panel.locator(ERROR).count();

  const first = panel.locator(".jp-OutputArea img").first();
  await first.evaluate((image) => image.scrollIntoView({ block: "center" }));
  await first.evaluate((image) => image.decode());
  seen.images = await panel.locator(".jp-OutputArea img").evaluateAll((all) =>
    all.map((image) => ({
      width: image.naturalWidth, height: image.naturalHeight, shown: image.getBoundingClientRect().width,
    })));
  await picture("lesson");

  await panel.locator(".jp-Cell").last().evaluate((cell) => cell.scrollIntoView());
  await panel.locator(".jp-Cell .jp-InputPrompt").last().click();
  const training = await run("%train 100000");
  const bar = training.locator("progress");
  const done = async () => Number(await bar.first().getAttribute("value"));
  await bar.first().waitFor();
  seen.bar = [await done()];
  seen.bar.push(await until("a step more", async () => ((await done()) > seen.bar[0] ? done() : 0)));
  await picture("training");
  await button("notebook:interrupt-kernel").click();
  const error = training.locator(ERROR).filter({ hasText: "stopped" });
  await error.waitFor();
  seen.stopped = (await error.textContent()).trim();

  const after = await run("lab.status()");
  const value = after.locator(".jp-OutputArea-executeResult");
  await value.waitFor();
  seen.status = (await value.locator(".jp-OutputArea-output").textContent()).trim();
  await picture("stopped");
} catch (error) {
  seen.fault = String(error);
  await picture("fault");
} finally {
  await context.close();
}
console.log(JSON.stringify(seen));
