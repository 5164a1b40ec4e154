import NormaRecords
import NormaStatistics

extension ComparisonRecord {
  /// Fewer runs per norm name no winner.
  public static let seedsForVerdict = 5
  static let significance = 0.05

  /// What the finished runs show together, batch size by batch size.
  ///
  /// The learning rate of every norm is, of those with the most seeds, the one with the fewest failures, then with the lowest mean
  /// of the runs' lowest validation losses. Norms without failures are then compared pair by pair on the same seeds (paired
  /// t-test), with Holm's correction over the pairs of a batch size. A winner is ahead of every other one after that
  /// correction, in at least five seeds that all of them have.
  public func analyzed() -> [AnalysisRecord] {
    let finished = runs.filter(\.isFinished)
    return unique(finished.map(\.cell.batchSize)).map { batchSize in
      let runs = finished.filter { $0.cell.batchSize == batchSize }
      let chosen = unique(runs.map(\.norm)).map { norm in Chosen(runs.filter { $0.norm == norm }) }
      let target = targetLoss(chosen)
      let pairs = pairs(chosen.filter { $0.failures == 0 })
      let found = verdict(chosen, pairs)
      return AnalysisRecord(
        batchSize: batchSize, contenders: chosen.map { $0.record(target: target) }, pairs: pairs, targetLoss: target,
        winner: found.winner, verdict: found.text)
    }
  }

  /// What batch normalization reached, or else the first norm.
  private func targetLoss(_ chosen: [Chosen]) -> Double? {
    (chosen.first { $0.norm == "batch" && $0.validationLoss != nil } ?? chosen.first { $0.validationLoss != nil })?
      .validationLoss
  }

  private func pairs(_ chosen: [Chosen]) -> [PairRecord] {
    let compared = chosen.indices.flatMap { i in
      chosen.indices.dropFirst(i + 1).compactMap { j -> PairedComparison? in
        let (a, b) = (chosen[i].values(score), chosen[j].values(score))
        let seeds = a.keys.filter { b[$0] != nil }.sorted()
        guard !seeds.isEmpty else { return nil }
        return PairedComparison(chosen[i].norm, seeds.map { a[$0]! }, chosen[j].norm, seeds.map { b[$0]! })
      }
    }
    let tested = compared.compactMap(\.pValue)
    var adjusted = holmAdjusted(tested)[...]
    return compared.map { pair in
      PairRecord(
        first: pair.first, second: pair.second,
        difference: SpreadRecord(pair.difference),
        pValue: pair.pValue, adjustedPValue: pair.pValue.flatMap { _ in adjusted.popFirst() })
    }
  }

  private func verdict(_ chosen: [Chosen], _ pairs: [PairRecord]) -> (winner: String?, text: String) {
    let healthy = chosen.filter { $0.failures == 0 && !$0.values(score).isEmpty }
    // Means over other seeds could not be ranked.
    let seeds = healthy.map { Set($0.values(score).keys) }
    let common = seeds.dropFirst().reduce(seeds.first ?? []) { $0.intersection($1) }
    let ranked = healthy.map { norm -> (norm: String, mean: Double) in
      let values = norm.values(score).filter { common.isEmpty || common.contains($0.key) }
      return (norm.norm, Sample(values.sorted { $0.key < $1.key }.map(\.value)).mean)
    }.sorted { score.isBetterWhenLower ? $0.mean < $1.mean : $0.mean > $1.mean }
    let failed = chosen.filter { $0.failures > 0 }
    let broken =
      failed.isEmpty
      ? ""
      : " Not in the running: "
        + failed.map { "\($0.norm) (\($0.failures) of \($0.runs.count) runs failed)" }.joined(separator: ", ") + "."
    guard let best = ranked.first else { return (nil, "No norm finished all its runs." + broken) }
    guard chosen.count > 1 else { return (nil, "One norm alone is no comparison.") }
    guard ranked.count > 1 else { return (nil, "Only \(best.norm) finished all its runs." + broken) }
    guard !common.isEmpty else {
      return (nil, "The norms have no seed in common, so nothing can be compared.\(broken)")
    }
    let lead = "\(best.norm) has the best mean \(score.title), \(fixed(best.mean, 4))"
    guard common.count >= Self.seedsForVerdict else {
      let few =
        common.count == 1
        ? "One run per norm: differences of this size also occur between seeds, so this ranks nothing for certain."
        : "\(common.count) seeds are too few to name a winner; \(Self.seedsForVerdict) are needed."
      return (nil, "\(few) \(lead).\(broken)")
    }
    // By how much the best is ahead of another, and how sure that is.
    func advantage(over norm: String) -> (lead: Double, pair: PairRecord)? {
      for pair in pairs {
        let sign = score.isBetterWhenLower ? -1.0 : 1
        if pair.first == best.norm, pair.second == norm { return (sign * pair.difference.mean, pair) }
        if pair.second == best.norm, pair.first == norm { return (-sign * pair.difference.mean, pair) }
      }
      return nil
    }
    let others = ranked.dropFirst().map { (norm: $0.norm, advantage: advantage(over: $0.norm)) }
    let behind = others.filter { other in
      other.advantage.map { $0.lead > 0 && ($0.pair.adjustedPValue ?? 1) < Self.significance } ?? false
    }
    let level = others.filter { other in !behind.contains { $0.norm == other.norm } }
    func names(_ list: [(norm: String, advantage: (lead: Double, pair: PairRecord)?)]) -> String {
      list.map { other in
        guard let (lead, pair) = other.advantage else { return other.norm }
        return
          "\(other.norm) (by \(fixed(lead, 4)) ± \(fixed(pair.difference.halfWidth, 4)), p = \(probability(pair.adjustedPValue)))"
      }.joined(separator: ", ")
    }
    if level.isEmpty {
      return (
        best.norm, "\(best.norm) is best: \(lead.dropFirst(best.norm.count + 1)), ahead of \(names(behind)).\(broken)"
      )
    }
    return (
      nil,
      "No winner: \(lead), but no difference to \(names(level)) could be shown."
        + (behind.isEmpty ? "" : " It is ahead of \(names(behind)).") + broken
    )
  }
}

/// The runs of one norm at one batch size with the learning rate that was chosen.
private struct Chosen {
  let norm: String
  let learningRate: Double
  /// By ascending seeds.
  let runs: [RunRecord]

  /// - Parameter all: of the norm and batch size; at least one.
  init(_ all: [RunRecord]) {
    let byRate = unique(all.map(\.cell.learningRate)).map { rate in all.filter { $0.cell.learningRate == rate } }
    func rank(_ runs: [RunRecord]) -> (Int, Double) {
      let losses = runs.compactMap { $0.bestEpoch?.validationLoss }
      return (
        runs.count { $0.failure != nil }, losses.isEmpty ? .infinity : losses.reduce(0, +) / Double(losses.count)
      )
    }
    // A rate that an interrupted grid got to in few seeds is not yet to be compared.
    let most = byRate.map(\.count).max()
    let best = byRate.filter { $0.count == most }.min { rank($0) < rank($1) }!
    norm = all[0].norm
    learningRate = best[0].cell.learningRate
    runs = best.sorted { $0.cell.seed < $1.cell.seed }
  }

  var failures: Int { runs.count { $0.failure != nil } }
  private var succeeded: [RunRecord] { runs.filter { $0.failure == nil } }
  var validationLoss: Double? { SpreadRecord(succeeded.compactMap { $0.bestEpoch?.validationLoss })?.mean }

  /// By seed.
  func values(_ score: ScoreName) -> [UInt64: Double] {
    Dictionary(
      succeeded.compactMap { run in run.scores[score.rawValue].map { (run.cell.seed, $0) } }, uniquingKeysWith: { $1 })
  }

  func record(target: Double?) -> ContenderRecord {
    let names = ScoreName.allCases.map(\.rawValue)
    let spreads = names.map { name in (name, SpreadRecord(succeeded.compactMap { $0.scores[name] })) }
    let reached = target.map { target in
      succeeded.compactMap { run in run.history.first { $0.validationLoss <= target }.map { Double($0.epoch) } }
    }
    return ContenderRecord(
      norm: norm, learningRate: learningRate, seeds: runs.map(\.cell.seed), failures: failures,
      scores: Dictionary(uniqueKeysWithValues: spreads.compactMap { name, spread in spread.map { (name, $0) } }),
      validationLoss: SpreadRecord(succeeded.compactMap { $0.bestEpoch?.validationLoss }),
      stepMilliseconds: SpreadRecord(runs.compactMap(\.medianStepMilliseconds)),
      trainingSeconds: SpreadRecord(succeeded.map(\.trainingSeconds)),
      peakTensorBytes: runs.map(\.peakTensorBytes).max() ?? 0,
      peakProcessBytes: runs.compactMap(\.peakProcessBytes).max(),
      epochsToTarget: reached.flatMap { SpreadRecord($0) })
  }
}

extension SpreadRecord {
  init(_ sample: Sample) {
    self.init(
      count: sample.count, mean: sample.mean, deviation: sample.deviation, halfWidth: sample.halfWidth())
  }

  /// nil without numbers.
  init?(_ values: [Double]) {
    guard !values.isEmpty else { return nil }
    self.init(Sample(values))
  }
}

/// The different elements in the order of their first places.
func unique<Element: Hashable>(_ elements: [Element]) -> [Element] {
  var seen: Set<Element> = []
  return elements.filter { seen.insert($0).inserted }
}

/// A probability as it is written: three digits, or that it is smaller.
func probability(_ value: Double?) -> String {
  guard let value else { return "–" }
  return value < 0.001 ? "< 0.001" : fixed(value, 3)
}
