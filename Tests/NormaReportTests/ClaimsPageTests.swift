import Foundation
import NormaRecords
import NormaReport
import TestSupport
import Testing

@Suite struct ClaimsPageTests {
  private func claim(_ name: String, _ answer: ClaimRecord.Answer) -> ClaimRecord {
    ClaimRecord(
      name: name, statement: "<b>Norms</b> & \"learning\" rates \(name).", source: "Ioffe & Szegedy 2015",
      experiment: "Accuracy.",
      quantity: "accuracy", condition: "rate",
      measurements: [
        MeasurementRecord(quantity: "accuracy", arm: "batch", condition: "0.1", values: [0.5, 0.625]),
        MeasurementRecord(quantity: "accuracy", arm: "batch", condition: "0.03", values: [0.25, 0.5]),
        MeasurementRecord(quantity: "accuracy", arm: "none", condition: "0.1", values: [0.125, .infinity]),
        MeasurementRecord(quantity: "greatest rate", arm: "batch", condition: "", values: [-1, -0.5]),
      ],
      tests: [
        ClaimTestRecord(
          question: "batch − none > 0",
          difference: SpreadRecord(count: 2, mean: 0.4321, deviation: 0.1, halfWidth: 0.25),
          margin: 0.02, answer: answer)
      ], answer: answer, seconds: 1)
  }

  private var record: ClaimsRecord {
    ClaimsRecord(
      started: "2026-01-02T03:04:05Z",
      environment: EnvironmentRecord(norma: "1", libtorch: "2", processor: "p", threads: 1, device: "cpu"),
      configuration: ["seeds": "2", "quick": "true"], data: "a<b>.tif",
      claims: [claim("first", .held), claim("second", .didNotHold), claim("third", .undecided)])
  }

  @Test func isWellFormedAndHasTheRecordsNumbers() throws {
    let html = ClaimsPage(record).html
    #expect(elements(of: html)?.contains("figure") == true)
    let numbers = try pageNumbers(html, json: Data(jsonText(of: record).utf8))
    #expect(numbers.count == 9, "mean, half-width and margin of every claim")
    #expect(numbers.strangers.isEmpty, "\(numbers.strangers)")
    #expect(!html.contains("<b>") && !html.contains("<script"))
    for answer in ["Held.", "Did not hold.", "Undecided."] { #expect(html.contains(answer)) }
  }

  @Test func aChartPerQuantity() throws {
    let charts = ClaimsPage(record).charts
    #expect(charts.map(\.name) == ["first", "first-2", "second", "second-2", "third", "third-2"])
    for chart in charts { #expect(elements(of: chart.svg)?.first == "svg") }
    // Conditions in the order of their numbers.
    let svg = charts[0].svg
    let (low, high) = (try #require(svg.range(of: ">0.03<")), try #require(svg.range(of: ">0.1<")))
    #expect(low.lowerBound < high.lowerBound)
  }

  @Test func text() {
    let text = ClaimsTable.text(record)
    #expect(text.contains("1 held, 1 did not hold, 1 undecided"))
    #expect(text.contains("batch − none > 0: +0.432 ± 0.250 → held"))
  }
}
