import NormaRecords
import NormaStatistics

/// The answers to claims as one page, with a chart each.
public struct ClaimsPage: PageParts {
  public let record: ClaimsRecord

  public init(_ record: ClaimsRecord) { self.record = record }

  /// One file of HTML; numbers carry `data-value` and `data-path`, their place in claims.json.
  public var html: String {
    document(
      title: "Norma: claims about normalization put to the test",
      heading: "Claims about normalization, put to the test",
      subtitle: """
        \(escaped(record.data)) · \(escaped(record.configuration["seeds"] ?? "?")) seeds · started \
        <time datetime="\(escaped(record.started))">\(escaped(record.started))</time>
        """, skip: "answers",
      sections: [("answers", "Answers", answers)]
        + record.claims.enumerated().map { ($1.name, $1.statement, body($1, "claims[\($0)]")) }
        + [("limits", "Limits", limits)],
      footer: "Made by norma \(escaped(record.environment.norma)) from claims.json.")
  }

  private var answers: String {
    table(
      "All claims and their answers", ["claim", "answer", "source"],
      record.claims.map { claim in
        [
          "<a href=\"#\(claim.name)\">\(escaped(claim.statement))</a>", "<strong>\(claim.answer.rawValue)</strong>",
          escaped(claim.source),
        ]
      }, isList: true)
      + note(
        "Held and did not hold follow from 95 % intervals of differences seed by seed: a claim has held when every test of it lies on its "
          + "side, and has not when one shows a difference too small to matter or of the other sign.")
  }

  private func body(_ claim: ClaimRecord, _ path: String) -> String {
    let tests = claim.tests.enumerated().map { index, test in
      let path = "\(path).tests[\(index)]"
      return [
        escaped(test.question), spread(test.difference, "\(path).difference", 3),
        value(test.margin, "\(path).margin", fixed(test.margin, 3)), escaped(test.answer.rawValue),
      ]
    }
    return
      "<p class=\"verdict\(claim.answer == .held ? " winner" : "")\">\(escaped(claim.answer.rawValue.capitalizedFirst)).</p>\n"
      + "<p>\(escaped(claim.experiment)) \(escaped(claim.source)).</p>\n" + figures(charts(claim))
      + table(
        "Tests of this claim", ["difference", "mean ± half the 95 % interval", "what would matter", "answer"], tests)
  }

  /// Also the charts as files.
  public var charts: [Chart] { record.claims.flatMap(charts) }

  private func charts(_ claim: ClaimRecord) -> [Chart] {
    let (overConditions, alone) = (
      claim.measurements.filter { !$0.condition.isEmpty }, claim.measurements.filter(\.condition.isEmpty)
    )
    let arms = unique(claim.measurements.map(\.arm))
    func rank(_ arm: String) -> Int { arms.firstIndex(of: arm) ?? 0 }
    var charts: [Chart] = []
    if !overConditions.isEmpty {
      // Conditions in the order of their numbers, whichever was measured first.
      let conditions = unique(overConditions.map(\.condition)).sorted { (Double($0) ?? 0) < (Double($1) ?? 0) }
      let series = unique(overConditions.map(\.arm)).map { arm in
        LinePlot.Series(
          name: arm, rank: rank(arm),
          points: overConditions.filter { $0.arm == arm }.sorted {
            (conditions.firstIndex(of: $0.condition) ?? 0) < (conditions.firstIndex(of: $1.condition) ?? 0)
          }.map { point in
            let sample = Sample(point.values)
            return LinePlot.Point(
              x: Double(conditions.firstIndex(of: point.condition) ?? 0), y: sample.mean,
              low: sample.halfWidth().map { sample.mean - $0 }, high: sample.halfWidth().map { sample.mean + $0 })
          })
      }
      charts.append(
        Chart(
          name: claim.name, title: claim.quantity, description: claim.experiment,
          plot: .lines(
            LinePlot(across: claim.condition, up: "means, 95 % intervals", names: conditions, series: series))))
    }
    // What has another unit than the quantity is no row beside it.
    let (plain, derived) = (
      alone.filter { !$0.arm.contains("(log") && !$0.arm.contains(", ") },
      alone.filter {
        $0.arm.contains("(log") || $0.arm.contains(", ")
      }
    )
    for (suffix, rows, title) in [("", plain, claim.quantity), ("-summary", derived, "Summary")] where !rows.isEmpty {
      charts.append(
        Chart(
          name: claim.name + (charts.isEmpty ? "" : suffix), title: title, description: claim.experiment,
          plot: .rows(
            RowPlot(
              across: "means, 95 % intervals, single seeds as rings", isFromZero: false,
              rows: rows.map { row in
                let sample = Sample(row.values)
                return RowPlot.Row(
                  name: row.arm, rank: rank(row.arm), value: sample.mean,
                  low: sample.halfWidth().map { sample.mean - $0 }, high: sample.halfWidth().map { sample.mean + $0 },
                  singles: row.values, label: fixed(sample.mean, 3))
              }))))
    }
    return charts
  }

  private var limits: String {
    let items = [
      "Small networks on one kind of data (\(record.data)): what held here may not hold for yours; --images and --labels take your own.",
      "Each claim is answered by itself: of twenty claims that are not true one is expected to come out as held.",
      "Trainings of \(record.configuration["quick"] == "true" ? "a few hundred steps (--quick)" : "some hundred steps").",
      "\(record.environment.processor), \(record.environment.threads) threads, libtorch \(record.environment.libtorch).",
    ]
    return "<ul>\(items.map { "<li>\(escaped($0))</li>" }.joined(separator: "\n"))</ul>"
  }
}

extension String {
  fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
