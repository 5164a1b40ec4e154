import NormaRecords

extension Report {
  /// Every chart of the page. A norm looks the same in all of them.
  public var charts: [Chart] {
    record.analysis.flatMap { [scoreChart($0)].compactMap { $0 } + curves($0) + rates($0) + costs($0) + shares($0) }
      + [sweep].compactMap { $0 }
  }

  private var norms: [String] { unique(record.runs.map(\.norm)) }
  private func rank(_ norm: String) -> Int { norms.firstIndex(of: norm) ?? 0 }

  /// A list of what a chart shows.
  private func told(_ parts: [String]) -> String {
    parts.isEmpty ? "Nothing to show." : parts.joined(separator: "; ") + "."
  }

  func scoreChart(_ analysis: AnalysisRecord) -> Chart? {
    let score = record.score
    let rows = analysis.contenders.compactMap { norm -> RowPlot.Row? in
      guard let spread = norm.scores[score.rawValue] else { return nil }
      let singles = record.runs(of: norm, batchSize: analysis.batchSize).compactMap { $0.scores[score.rawValue] }
      return row(norm.norm, spread, singles: singles, label: fixed(spread.mean, 4))
    }
    guard !rows.isEmpty else { return nil }
    return Chart(
      name: "score-batch\(analysis.batchSize)", title: "\(score.title) by norm, batch size \(analysis.batchSize)",
      description: "Mean over seeds with its 95 % interval, and every run as a ring. "
        + told(rows.map { "\($0.name) \($0.label)" }),
      plot: .rows(
        RowPlot(
          across: "\(score.title), \(score.isBetterWhenLower ? "lower" : "higher") is better; rings are runs",
          isFromZero: false,
          rows: rows)))
  }

  private func row(_ norm: String, _ spread: SpreadRecord, singles: [Double] = [], label: String, unit: Double = 1)
    -> RowPlot.Row
  {
    RowPlot.Row(
      name: norm, rank: rank(norm), value: spread.mean / unit, low: spread.halfWidth.map { (spread.mean - $0) / unit },
      high: spread.halfWidth.map { (spread.mean + $0) / unit }, singles: singles, label: label)
  }

  /// The validation loss over the learning rates, of those that no training failed at; empty for one rate.
  func rates(_ analysis: AnalysisRecord) -> [Chart] {
    let runs = record.runs.filter { $0.isFinished && $0.cell.batchSize == analysis.batchSize }
    let rates = Set(runs.map(\.cell.learningRate)).sorted()
    guard rates.count > 1 else { return [] }
    let series = unique(runs.map(\.norm)).map { norm in
      let points = rates.enumerated().compactMap { place, rate -> LinePlot.Point? in
        let runs = runs.filter { $0.norm == norm && $0.cell.learningRate == rate }
        let losses = runs.compactMap { $0.failure == nil ? $0.bestEpoch?.validationLoss : nil }
        guard let low = losses.min(), let high = losses.max(), losses.count == runs.count else { return nil }
        let mean = losses.reduce(0, +) / Double(losses.count)
        return LinePlot.Point(x: Double(place), y: mean, low: low, high: high)
      }
      return LinePlot.Series(name: norm, rank: rank(norm), points: points)
    }.filter { !$0.points.isEmpty }
    return [
      Chart(
        name: "rates-batch\(analysis.batchSize)",
        title: "Validation loss by learning rate, batch size \(analysis.batchSize)",
        description: "Of the best epoch: mean over seeds, and from the lowest to the highest run. "
          + told(
            series.map { one in
              "\(one.name) " + one.points.map { "\(fixed($0.y, 4)) at \(rates[Int($0.x)])" }.joined(separator: ", ")
            }),
        plot: .lines(
          LinePlot(across: "learning rate", up: "validation loss", names: rates.map { "\($0)" }, series: series)))
    ]
  }

  /// Losses and scores over epochs; failed runs are left out.
  func curves(_ analysis: AnalysisRecord) -> [Chart] {
    let scores = record.epochScores.map { score in
      (
        name: "validation-\(score.rawValue)", title: "Validation \(score.title)",
        value: { (epoch: EpochRecord) in epoch.validationScores[score.rawValue] ?? .nan }
      )
    }
    let kinds: [(name: String, title: String, value: (EpochRecord) -> Double)] =
      [("validation-loss", "Validation loss", \.validationLoss)] + scores + [("training-loss", "Training loss", \.loss)]
    return kinds.map { name, title, value in
      let series = analysis.contenders.map { norm in
        let histories = record.runs(of: norm, batchSize: analysis.batchSize).filter { $0.failure == nil }.map(\.history)
        let points = unique(histories.flatMap { $0.map(\.epoch) }).sorted().map { number in
          let values = histories.flatMap { $0.filter { $0.epoch == number }.map(value) }.filter(\.isFinite)
          let several = values.count > 1
          return LinePlot.Point(
            x: Double(number), y: values.isEmpty ? .nan : values.reduce(0, +) / Double(values.count),
            low: several ? values.min() : nil, high: several ? values.max() : nil)
        }
        return LinePlot.Series(name: norm.norm, rank: rank(norm.norm), points: points)
      }.filter { !$0.points.isEmpty }
      return Chart(
        name: "\(name)-batch\(analysis.batchSize)", title: "\(title), batch size \(analysis.batchSize)",
        description:
          "Mean over seeds at every epoch; a band reaches from the lowest to the highest run. At the last epoch: "
          + told(series.map { "\($0.name) \(fixed($0.points.last?.y, 4))" }),
        plot: .lines(LinePlot(across: "epoch", up: title.lowercased(), series: series)))
    }
  }

  /// Time and memory by norm.
  func costs(_ analysis: AnalysisRecord) -> [Chart] {
    let steps = analysis.contenders.compactMap { norm in
      norm.stepMilliseconds.map { row(norm.norm, $0, label: "\(fixed($0.mean, 1)) ms") }
    }
    let memory = analysis.contenders.map { norm in
      RowPlot.Row(
        name: norm.norm, rank: rank(norm.norm), value: Double(norm.peakTensorBytes) / 1_048_576,
        label: bytes(norm.peakTensorBytes))
    }
    return [
      ("step", "Time of a training step", "milliseconds; median of a run, mean over seeds", steps),
      ("memory", "Peak of live tensors", "MiB; the greatest of the runs", memory),
    ].map { name, title, across, rows in
      Chart(
        name: "\(name)-batch\(analysis.batchSize)", title: "\(title), batch size \(analysis.batchSize)",
        description: "Bars from 0; lower is better. " + told(rows.map { "\($0.name) \($0.label)" }),
        plot: .rows(RowPlot(across: across, isFromZero: true, rows: rows)))
    }
  }

  /// The score over batch sizes; nil for one batch size.
  var sweep: Chart? {
    let sizes = record.analysis.sorted { $0.batchSize < $1.batchSize }
    guard sizes.count > 1 else { return nil }
    let score = record.score
    let series = norms.map { norm in
      LinePlot.Series(
        name: norm, rank: rank(norm),
        points: sizes.enumerated().compactMap { place, analysis in
          analysis.contenders.first { $0.norm == norm }?.scores[score.rawValue].map { spread in
            LinePlot.Point(
              x: Double(place), y: spread.mean, low: spread.halfWidth.map { spread.mean - $0 },
              high: spread.halfWidth.map { spread.mean + $0 })
          }
        })
    }.filter { !$0.points.isEmpty }
    return Chart(
      name: "batch-sizes", title: "\(score.title) by batch size",
      description: "Mean over seeds with its 95 % interval. "
        + told(
          series.map { one in
            "\(one.name) "
              + one.points.map { "\(fixed($0.y, 4)) at \(sizes[Int($0.x)].batchSize)" }.joined(separator: ", ")
          }),
      plot: .lines(
        LinePlot(
          across: "batch size", up: "\(score.title), \(score.isBetterWhenLower ? "lower" : "higher") is better",
          names: sizes.map { "\($0.batchSize)" }, series: series)))
  }

  /// What switchable norms mix, a chart per norm: means over the seeds.
  func shares(_ analysis: AnalysisRecord) -> [Chart] {
    analysis.contenders.compactMap { norm in
      let runs = record.runs(of: norm, batchSize: analysis.batchSize).filter { $0.failure == nil }
      let epochs = runs.map(\.mixes.count).min() ?? 0
      guard epochs > 0, let first = runs[0].mixes.first, let branches = first.first?.branches else { return nil }
      // Layers of one network mix the same branches.
      let panels = first.indices.filter { first[$0].branches == branches }.map { layer in
        func shares(_ part: (MixRecord) -> [Double]) -> [[Double]] {
          (0..<epochs).map { epoch in
            branches.indices.map { branch in
              let values = runs.compactMap { run -> Double? in
                let mixes = run.mixes[epoch]
                guard layer < mixes.count, branch < part(mixes[layer]).count else { return nil }
                return part(mixes[layer])[branch]
              }
              return values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
            }
          }
        }
        return AreaPlot.Panel(
          title: first[layer].layer, parts: [("mean", shares(\.mean)), ("variance", shares(\.variance))])
      }
      let plot = AreaPlot(branches: branches, epochs: 1...epochs, panels: panels)
      return Chart(
        name: "shares-\(fileName(norm.norm))-batch\(analysis.batchSize)",
        title: "Shares of \(norm.norm), batch size \(analysis.batchSize)",
        description: panels.map(plot.describe).joined(separator: ". "), plot: .areas(plot))
    }
  }
}
