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

  /// One per quantity.
  private func charts(_ claim: ClaimRecord) -> [Chart] {
    let arms = unique(claim.measurements.map(\.arm))
    return unique(claim.measurements.map(\.quantity)).enumerated().map { index, quantity in
      let shown = claim.measurements.filter { $0.quantity == quantity }
      let ranks = shown.map { arms.firstIndex(of: $0.arm) ?? 0 }
      return Chart(
        name: claim.name + (index == 0 ? "" : "-\(index + 1)"), title: quantity, description: claim.experiment,
        plot: shown.contains { !$0.condition.isEmpty }
          ? .lines(lines(claim, zip(shown, ranks).map { ($0, $1) })) : .rows(rows(zip(shown, ranks).map { ($0, $1) })))
    }
  }

  private typealias Ranked = (measurement: MeasurementRecord, rank: Int)

  private func lines(_ claim: ClaimRecord, _ shown: [Ranked]) -> LinePlot {
    // In the order of their numbers, whichever was measured first.
    let conditions = unique(shown.map(\.measurement.condition)).sorted { (Double($0) ?? 0) < (Double($1) ?? 0) }
    let series = unique(shown.map(\.measurement.arm)).map { arm in
      let own = shown.filter { $0.measurement.arm == arm }
      let points = own.map { measurement, _ -> LinePlot.Point in
        let sample = Sample(measurement.values)
        return LinePlot.Point(
          x: Double(conditions.firstIndex(of: measurement.condition) ?? 0), y: sample.mean,
          low: sample.halfWidth().map { sample.mean - $0 }, high: sample.halfWidth().map { sample.mean + $0 })
      }
      return LinePlot.Series(name: arm, rank: own[0].rank, points: points.sorted { $0.x < $1.x })
    }
    return LinePlot(across: claim.condition, up: "means, 95 % intervals", names: conditions, series: series)
  }

  private func rows(_ shown: [Ranked]) -> RowPlot {
    RowPlot(
      across: "means, 95 % intervals, single seeds as rings", isFromZero: false,
      rows: shown.map { measurement, rank in
        let sample = Sample(measurement.values)
        return RowPlot.Row(
          name: measurement.arm, rank: rank, value: sample.mean, low: sample.halfWidth().map { sample.mean - $0 },
          high: sample.halfWidth().map { sample.mean + $0 }, singles: measurement.values, label: fixed(sample.mean, 3))
      })
  }

  private var limits: String {
    let items = [
      "Small networks on one kind of data (\(record.data)): what held here may not hold for yours; --images and --labels take your own.",
      "Each claim is answered by itself: of forty claims of no difference one is expected to come out as held.",
      "Trainings of \(record.configuration["quick"] == "true" ? "a few hundred steps (--quick)" : "some hundred steps").",
      "\(record.environment.processor), \(record.environment.threads) threads, libtorch \(record.environment.libtorch).",
    ]
    return "<ul>\(items.map { "<li>\(escaped($0))</li>" }.joined(separator: "\n"))</ul>"
  }
}

extension String {
  fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
