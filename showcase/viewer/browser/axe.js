// What axe finds that is serious or critical, in a form that tests can show.

import { AxeBuilder } from "@axe-core/playwright";

export async function findings(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations
    .filter((violation) => violation.impact === "serious" || violation.impact === "critical")
    .flatMap((violation) => violation.nodes.map((node) => `${violation.id} ${node.target.join(" ")}: ${node.failureSummary}`));
}
