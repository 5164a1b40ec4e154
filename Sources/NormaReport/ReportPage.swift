#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaRecords

extension Report: PageParts {
  /// One file of HTML that is also well-formed XML, with its pictures and without scripts.
  ///
  /// A number of the record stands in an element with `data-value`, all its digits, and `data-path`, its place in the record:
  /// that of results.json, or of the merged record where there are several runs.
  public var html: String {
    let name = record.data.name
    return document(
      title: "Norma: normalizations compared on \(name)", heading: "Normalizations compared",
      subtitle: """
        \(escaped(name)) · started <time datetime="\(escaped(record.started))">\(escaped(record.started))</time> · \(state)
        """, skip: "verdict", sections: sections,
      footer: """
        Made by norma \(escaped(record.environment.norma)) from results.json; <code>norma report</code> makes it again.
        """)
  }

  private var sections: [(id: String, title: String, body: String)] {
    [
      ("verdict", "Verdict", verdict),
      ("results", "Results", perBatchSize(results) + (record.analysis.isEmpty ? "" : note(intervals))),
      (
        "curves", "Curves",
        perBatchSize { figures(curves($0.analysis) + rates($0.analysis)) }
          + note(
            "Lines are means over seeds, bands reach from the lowest to the highest run; failed runs are left out.")
      ),
      (
        "batch-sizes", "Batch sizes",
        sweep.map { figures([$0]) + note(intervals) } ?? ""
      ),
      ("cost", "Cost", perBatchSize { figures(costs($0.analysis)) }),
      ("shares", "Learned shares", sharesSection),
      ("slices", record.data.unit == "slices" ? "Slices" : "Pictures", slices),
      ("runs", "All trainings", "<details><summary>\(record.runs.count) trainings</summary>\n\(trainings)</details>"),
      ("setup", "Data, machine and options", setup), ("reproduce", "Run it again", reproduction),
      ("limits", "Limits", "<ul>\(limits.map { "<li>\(escaped($0))</li>" }.joined(separator: "\n"))</ul>"),
    ].filter { !$0.2.isEmpty }
  }

  /// How much of the grid is there.
  private var state: String {
    let finished = record.runs.count(where: \.isFinished)
    return missing > 0
      ? "<strong>\(finished) of \(finished + missing) trainings finished</strong>"
      : "\(finished) \(finished == 1 ? "training" : "trainings") finished"
  }

  /// Trainings of the grid that are not finished; a grid may have been wider before.
  private var missing: Int {
    let planned = ComparisonRecord.gridLists.reduce(Int(record.configuration["seeds"] ?? "") ?? 1) {
      $0 * (record.configuration[$1]?.split(separator: ",").count ?? 1)
    }
    return max(0, planned - record.runs.count(where: \.isFinished))
  }

  // MARK: - Parts

  private var intervals: String {
    "Whiskers are 95 % intervals of the mean; one that ends at the edge of its chart goes on beyond it."
  }

  private typealias Place = (analysis: AnalysisRecord, path: String)

  private func perBatchSize(_ body: (Place) -> String) -> String {
    record.analysis.enumerated().map { index, analysis in
      "<h3>Batch size \(analysis.batchSize)</h3>\n" + body((analysis, "analysis[\(index)]"))
    }.joined(separator: "\n")
  }

  private var verdict: String {
    let verdicts = record.analysis.enumerated().map { index, analysis in
      """
      <h3>Batch size \(analysis.batchSize)</h3>
      <p class="verdict\(analysis.winner == nil ? "" : " winner")" data-path="analysis[\(index)].verdict">\
      \(escaped(analysis.verdict))</p>
      """
    }
    return (verdicts.isEmpty ? "<p class=\"verdict\">No training is finished.</p>" : verdicts.joined(separator: "\n"))
      + "\n<p>Norms are compared by \(escaped(record.score.title)) "
      + "(\(record.score.isBetterWhenLower ? "lower" : "higher") is better). What to keep in mind: <a href=\"#limits\">limits</a>.</p>"
  }

  private func results(_ place: Place) -> String {
    let (analysis, path) = place
    let known = ScoreName.allCases.filter { score in analysis.contenders.contains { $0.scores[score.rawValue] != nil } }
    let shown = record.chiefScores.filter(known.contains)
    let batch = analysis.contenders.first { $0.norm == "batch" }?.stepMilliseconds?.mean
    let rows = analysis.contenders.enumerated().map { index, norm -> [String] in
      let path = "\(path).contenders[\(index)]"
      let ratio = norm.stepMilliseconds.flatMap { step in batch.map { step.mean / $0 } }
      return [
        escaped(norm.norm), value(norm.learningRate, "\(path).learningRate", "\(norm.learningRate)"),
        "\(norm.seeds.count - norm.failures)/\(norm.seeds.count)",
      ]
        + shown.map { spread(norm.scores[$0.rawValue], "\(path).scores.\($0.rawValue)", 4) }
        + [
          spread(norm.validationLoss, "\(path).validationLoss", 4),
          spread(norm.stepMilliseconds, "\(path).stepMilliseconds", 1),
          fixed(ratio, 2), value(Double(norm.peakTensorBytes), "\(path).peakTensorBytes", bytes(norm.peakTensorBytes)),
          spread(norm.epochsToTarget, "\(path).epochsToTarget", 1)
            + (norm.epochsToTarget.map { " (\($0.count) of \(norm.seeds.count))" } ?? ""),
        ]
    }
    let target =
      analysis.targetLoss.map { "epochs to val loss " + value($0, "\(path).targetLoss", fixed($0, 4)) }
      ?? "epochs to target"
    let main = table(
      "Norms at batch size \(analysis.batchSize): means over seeds ± half the 95 % interval",
      ["norm", "rate", "runs"] + shown.map { escaped($0.title) }
        + ["val loss", "ms/step", "× batch", "peak tensors", target], rows,
      marked: analysis.winner.flatMap { winner in analysis.contenders.firstIndex { $0.norm == winner } })
    let pairs = analysis.pairs.enumerated().map { index, pair -> [String] in
      let path = "\(path).pairs[\(index)]"
      return [
        "\(escaped(pair.first)) − \(escaped(pair.second))", spread(pair.difference, "\(path).difference", 4),
        "\(pair.difference.count)", value(pair.pValue, "\(path).pValue", probability(pair.pValue)),
        value(pair.adjustedPValue, "\(path).adjustedPValue", probability(pair.adjustedPValue)),
      ]
    }
    let compared = table(
      "Pairs of norms at batch size \(analysis.batchSize), seed by seed",
      [
        "pair", "difference in \(escaped(record.score.title)) ± half the 95 % interval", "seeds", "p",
        "p, Holm-adjusted",
      ], pairs)
    let rest = known.filter { !shown.contains($0) }
    let others = table(
      "Other scores at batch size \(analysis.batchSize): means over seeds ± half the 95 % interval",
      ["norm"] + rest.map { escaped($0.title) },
      analysis.contenders.enumerated().map { index, norm in
        [escaped(norm.norm)]
          + rest.map { spread(norm.scores[$0.rawValue], "\(path).contenders[\(index)].scores.\($0.rawValue)", 4) }
      })
    let isLong = pairs.count > 6
    return main + (rest.isEmpty ? "" : "<details><summary>Other scores</summary>\n\(others)</details>")
      + figures([scoreChart(analysis)].compactMap { $0 })
      + (pairs.isEmpty
        ? "" : (isLong ? "<details><summary>All \(pairs.count) pairs</summary>\n\(compared)</details>" : compared))
  }

  private var sharesSection: String {
    let smallest = record.analysis.map(\.batchSize).min()
    return record.analysis.flatMap { analysis in
      shares(analysis).map { chart in
        guard case .areas(let plot) = chart.plot else { return "" }
        let pieces = plot.pieces.joined(separator: "\n")
        return """
          <details\(analysis.batchSize == smallest ? " open=\"open\"" : "")><summary>\(escaped(chart.title))</summary>
          <div class="panels">
          \(pieces)
          </div></details>
          """
      }
    }.joined(separator: "\n").ifNotEmpty {
      note(
        "What every layer mixes its statistics from, over the epochs; means over seeds. The shares of a layer sum to 1 and are stacked from below in the order of the legend."
      ) + $0
    }
  }

  private var slices: String {
    guard !pictures.slices.isEmpty else { return "" }
    let isSegmentation = record.data.unit == "slices"
    let title = isSegmentation ? "Slice" : "Picture"
    let parts = pictures.slices.map { slice in
      let overlays = slice.overlays.map { norm, png in
        picture(
          png,
          isSegmentation
            ? "Slice \(slice.number) with the errors of \(norm) in colour" : "Picture \(slice.number) of \(norm)",
          caption: norm)
      }
      let errors = slice.errors.map {
        [
          picture(
            $0, "Map of slice \(slice.number): the darker a pixel, the more norms are wrong there",
            caption: "how many norms are wrong")
        ]
      }
      return
        "<h3>\(title) \(slice.number)</h3>\n<div class=\"pictures\">\n\((overlays + (errors ?? [])).joined(separator: "\n"))\n</div>"
    }
    guard isSegmentation else {
      return note(
        "What the networks of the first seed make of pictures that did not train them, at the smallest batch size. Picture 0 shows from "
          + "above the contents, the styles and the results; the others are results alone.")
        + parts.joined(separator: "\n")
    }
    return note(
      "Predictions of the first seed at the smallest batch size: red where too high a class was predicted, blue where too low a "
        + "one; with cells as the higher class, red is a missed membrane and blue an invented one. In the last picture black pixels are "
        + "wrong under every norm.") + parts.joined(separator: "\n")
  }

  private func picture(_ png: [UInt8], _ text: String, caption: String) -> String {
    """
    <figure><img src="data:image/png;base64,\(Data(png).base64EncodedString())" alt="\(escaped(text))"/>\
    <figcaption>\(escaped(caption))</figcaption></figure>
    """
  }

  private var trainings: String {
    let rows = record.runs.enumerated().map { index, run -> [String] in
      let path = "runs[\(index)]"
      let state =
        run.failure.map { "failed: \($0)" }
        ?? (!run.isFinished ? "unfinished" : (run.collapsedToClass.map { "collapsed to class \($0)" } ?? ""))
      let best = run.bestEpoch
      let score = run.scores[record.score.rawValue]
      return [
        escaped(run.norm), "\(run.cell.batchSize)", "\(run.cell.learningRate)", "\(run.cell.seed)",
        "\(run.history.count)",
        best.map { "\(fixed($0.validationLoss, 4)) (\($0.epoch))" } ?? "–",
        value(score, "\(path).scores.\(record.score.rawValue)", fixed(score, 4)), fixed(run.medianStepMilliseconds, 1),
        clock(run.trainingSeconds),
        value(Double(run.peakTensorBytes), "\(path).peakTensorBytes", bytes(run.peakTensorBytes)),
        grouped(run.totalParameters), escaped(state),
      ]
    }
    return table(
      "Every training",
      [
        "norm", "batch size", "rate", "seed", "epochs", "best val loss (epoch)", escaped(record.score.title), "ms/step",
        "time",
        "peak tensors", "parameters", "remark",
      ], rows)
  }

  private var setup: String {
    func list(_ caption: String, _ entries: [(String, String)]) -> String {
      table(
        caption, ["field", "value"], entries.map { [escaped($0.0), "<span class=\"text\">\(escaped($0.1))</span>"] },
        isList: true)
    }
    let (data, machine) = (record.data, record.environment)
    return list(
      "Data",
      [
        ("name", data.name), ("\(data.unit) for training", "\(data.trainingSamples)"),
        ("\(data.unit) that choose the epoch", "\(data.validationSamples)"),
        ("\(data.unit) for scores alone", "\(data.testSamples)"),
        ("size", data.extent),
      ] + (data.classes > 0 ? [("classes", "\(data.classes)")] : [])
        + ScoreName.allCases.compactMap { score in
          data.constantScores[score.rawValue].map { ("\(score.title) of \(record.baseline)", fixed($0, 4)) }
        })
      + list(
        "Machine and software",
        [
          ("norma", machine.norma), ("libtorch", machine.libtorch), ("processor", machine.processor),
          ("threads", "\(machine.threads)"),
          ("device", machine.device),
        ])
      + "<details><summary>All options</summary>\n"
      + list("Options", record.configuration.sorted { $0.key < $1.key }.map { ("--\($0.key)", $0.value) })
      + "</details>"
  }

  private var reproduction: String {
    let text = commands.map { escaped($0.joined(separator: " \\\n  ")) }.joined(separator: "\n\n")
    return "<p>The same build of norma on the same machine gives the same numbers, but for times:</p>\n"
      + "<pre class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Command\"><code>\(text)</code></pre>\n"
  }

  /// What a reader of the numbers has to know.
  var limits: [String] {
    var lines = ComparisonTable.remarks(record).filter { !$0.isEmpty }
    if let remark = ComparisonTable.withoutTest(record.data), !lines.contains(remark) { lines.append(remark) }
    if record.data.isSynthetic {
      lines.append("The data are synthetic: which norm is best on them says little about real images.")
    }
    if missing > 0 {
      lines.append(
        "The grid is not complete, \(missing) \(missing == 1 ? "training is" : "trainings are") missing: norms may have different seeds."
      )
    }
    lines.append(
      Set(record.runs.map(\.cell.learningRate)).count > 1
        ? "Learning rates were chosen by validation loss, never by score; one beyond those tried may suit a norm better."
        : "One learning rate was tried; another one may suit a norm better.")
    for analysis in record.analysis {
      let unsteady = analysis.contenders.filter { norm in
        norm.stepMilliseconds.map { ($0.deviation ?? 0) > 0.1 * $0.mean } ?? false
      }
      if !unsteady.isEmpty {
        lines.append(
          "At batch size \(analysis.batchSize) the step times of \(unsteady.map(\.norm).joined(separator: ", ")) differ between "
            + "runs by more than a tenth (standard deviation), as on a machine with other work: do not rank norms by them."
        )
      }
    }
    if record.isOfOneEnvironment { lines.append("Times and memory are of the machine named above.") }
    return lines
  }

  // MARK: - Elements
}

extension String {
  fileprivate func ifNotEmpty(_ change: (String) -> String) -> String { isEmpty ? self : change(self) }
}

enum PageStyle {
  static let text = """
    :root{color-scheme:light dark;\(ChartStyle.variables(dark: false));--box:#f5f7f9;--link:#005a9c}
    @media (prefers-color-scheme:dark){:root{\(ChartStyle.variables(dark: true));--box:#1e2329;--link:#8cc4ff}}
    *{box-sizing:border-box}
    body{margin:0 auto;max-width:84rem;padding:1rem;background:var(--paper);color:var(--ink);
    font:1rem/1.5 system-ui,"DejaVu Sans",Verdana,Helvetica,Arial,sans-serif;overflow-wrap:anywhere}
    a{color:var(--link)} h1,h2,h3{line-height:1.2} h1{margin:.5rem 0} h2{margin-top:2.5rem;border-bottom:1px solid var(--rule);padding-bottom:.3rem}
    .skip{position:absolute;left:-100rem} .skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem;z-index:1}
    :focus-visible{outline:3px solid var(--link);outline-offset:2px}
    nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.5rem 0}
    .verdict{font-size:1.15rem;border-left:.4rem solid var(--quiet);background:var(--box);padding:.8rem 1rem;margin:.5rem 0}
    .verdict.winner{border-color:var(--c2)} .note,figcaption,caption{color:var(--quiet)}
    .scroll{overflow-x:auto;margin:1rem 0} pre.scroll{background:var(--box);padding:1rem;overflow-wrap:normal}
    table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem} caption{text-align:left;padding:.3rem 0} caption span{position:sticky;left:0;display:inline-block;max-width:min(100%,calc(100vw - 2rem))}
    th,td{padding:.3rem .5rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap;overflow-wrap:normal}
    thead th{vertical-align:bottom;background:var(--box);white-space:normal;overflow-wrap:normal} th:first-child{text-align:left} tr.winner{background:var(--box);font-weight:bold}
    th:first-child{position:sticky;left:0} tbody th:first-child{background:var(--paper)} tr.winner th:first-child{background:var(--box)} .facts th,.facts td{text-align:left} tbody th span{display:inline-block;max-width:11rem;white-space:normal;overflow-wrap:break-word}
    td .text{display:block;text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:12rem}
    figure{margin:0} .charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,23rem),1fr));gap:1rem}
    .charts svg,.panels svg{max-width:100%;height:auto} .charts figure{border:1px solid var(--rule);border-radius:.4rem;overflow:hidden}
    .panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13.75rem),1fr));gap:.5rem} .panels svg:first-child{grid-column:1/-1}
    .pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14rem),1fr));gap:1rem}
    .pictures img{width:100%;height:auto;image-rendering:pixelated;display:block;background:var(--box)}
    summary{cursor:pointer;padding:.4rem 0;font-weight:bold} li{margin:.3rem 0}
    @media (max-width:30rem){tbody th span{max-width:7.5rem;overflow-wrap:anywhere}}
    @media print{.scroll{overflow:visible}}
    \(ChartStyle.inPage)

    """
}
