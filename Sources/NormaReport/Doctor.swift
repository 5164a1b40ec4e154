#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaRecords

/// What `norma doctor` found in a comparison; Documentation/Results.md describes every field.
public struct DoctorReport: Codable, Sendable, Equatable {
  /// How many trainings were looked at.
  public var trainings: Int
  /// The worst first.
  public var findings: [Finding]
  /// What could not be looked at and what would show it, or nil.
  public var missing: String?

  /// For people.
  public var text: String {
    let looked = trainings == 1 ? "1 training" : "\(trainings) trainings"
    let head =
      findings.isEmpty
      ? "Nothing found in \(looked)."
      : "\(findings.count) \(findings.count == 1 ? "finding" : "findings") in \(looked)."
    func paragraph(_ text: String, first: String = "", _ indent: String) -> String {
      wrapped(text, 98 - indent.count).enumerated().map { ($0.offset == 0 ? first : indent) + $0.element }
        .joined(separator: "\n")
    }
    let parts = findings.map { finding in
      [
        paragraph(
          "\(finding.severity.rawValue): \(finding.trouble.title)"
            + (finding.runs.isEmpty ? "" : " (\(finding.runs.joined(separator: ", ")))"), "  "),
        paragraph(finding.evidence, first: "    ", "    "), paragraph(finding.remedy, first: "    → ", "      "),
      ].joined(separator: "\n")
    }
    let tail = missing.map { [paragraph($0, "")] } ?? []
    return ([head] + parts + tail).joined(separator: "\n\n")
  }
}

/// One trouble with its evidence.
public struct Finding: Codable, Sendable, Equatable {
  public enum Severity: String, Codable, Sendable, CaseIterable {
    /// The result is no good.
    case serious
    /// The result is likely worse than it could be.
    case warning
    /// Worth knowing.
    case note
  }

  public enum Trouble: String, Codable, Sendable, CaseIterable {
    case failed, diverged, collapsed, interrupted
    case explodingGradient = "exploding-gradient"
    case vanishingGradient = "vanishing-gradient"
    case deadReLUs = "dead-relus"
    case runningStatistics = "running-statistics"
    case leansOnBatch = "leans-on-batch"
    case batchOfOne = "batch-of-one"
    case overfitting
    case dataWait = "data-wait"
    case stillImproving = "still-improving"

    var title: String {
      switch self {
      case .failed: "the training failed"
      case .diverged: "the training diverged"
      case .collapsed: "the network predicts one class everywhere"
      case .interrupted: "the comparison is not complete"
      case .explodingGradient: "exploding gradient"
      case .vanishingGradient: "vanishing gradient"
      case .deadReLUs: "dead ReLUs"
      case .runningStatistics: "evaluation suffers from running statistics"
      case .leansOnBatch: "switchable normalization leans on batch statistics"
      case .batchOfOne: "batch statistics of one sample"
      case .overfitting: "over-fitting"
      case .dataWait: "training waits for data"
      case .stillImproving: "still improving at the end"
      }
    }
  }

  public var trouble: Trouble
  public var severity: Severity
  /// The trainings that show it: the norms or, where these do not tell them apart, their files' stems.
  public var runs: [String]
  /// The numbers; of the first training, which they name, where there are several.
  public var evidence: String
  public var remedy: String
}

/// From where on something is a trouble.
enum DoctorThreshold {
  /// Batch normalization's error rises below 16 samples and steeply from 8 down (Wu & He 2018, figure 1).
  static let smallBatch = 8
  /// Validation by training loss, compared with norms that do not look at the batch: those lie within 10 % of each other on the
  /// ISBI 2012 stack, where batch normalization at batch size 1 is at 1.5 times them, at 4 at 1.0.
  static let excessOverOthers = 1.25
  /// The same without such norms: other causes are possible, so it has to be clearer and to fluctuate.
  static let excessAlone = 1.3
  /// Mean change of the validation loss from epoch to epoch: 0.2 to 0.4 there, 0.05 to 0.15 under other norms.
  static let fluctuation = 0.15
  /// Loss of the same training samples with running by that with batch statistics: below, other causes explain the curves;
  /// above the second, no curves are needed.
  static let lossUnderRunning = 1.05
  static let lossSurelyUnderRunning = 1.25
  /// Equal shares of three branches are 0.33: switchable normalization has not turned away from the batch.
  static let batchShare = 0.3
  /// Fewer samples give no sound batch statistics.
  static let batchForSharing = 4
  /// The first layer's part of the whole gradient: 0.05 to 0.2 in healthy U-Nets; a thousandth hardly moves the layer.
  static let vanishing = 1e-3
  /// First by last layer's gradient: around 1 in healthy U-Nets.
  static let exploding = 1e3
  /// Growth of the whole gradient since the first epoch; it usually shrinks.
  static let gradientGrowth = 100.0
  /// Dead channels of one ReLU: half of a layer does nothing.
  static let deadInLayer = 0.5
  /// Dead channels of all ReLUs: one in ten is usual soon after the start.
  static let deadInAll = 0.25
  /// Channels with fewer outputs on the probe may be 0 there by chance.
  static let valuesForDeath = 256
  /// Epochs in a row above the best validation loss, and by how much: less is noise.
  static let epochsOverBest = 3
  static let lossOverBest = 1.05
  /// Relative gain of the last epoch over the best one before: less is a plateau.
  static let lastGain = 0.03
  /// A tenth of the time is worth an option.
  static let dataWait = 0.1
  /// In all, in seconds: every epoch waits for its first batch.
  static let dataWaitSeconds = 5.0
}

extension ComparisonRecord {
  /// Looks for known troubles.
  public func examined() -> DoctorReport {
    var findings: [Finding] = []
    for finding in runs.flatMap(findingsOf) {
      let same = findings.firstIndex {
        ($0.trouble, $0.severity, $0.remedy) == (finding.trouble, finding.severity, finding.remedy)
      }
      guard let same else {
        findings.append(finding)
        continue
      }
      if findings[same].runs.count == 1 {
        findings[same].evidence = "\(findings[same].runs[0]): \(findings[same].evidence)"
      }
      findings[same].runs += finding.runs
    }
    if let missing = notThere() { findings.append(missing) }
    let order = Finding.Severity.allCases
    let sorted = order.flatMap { severity in findings.filter { $0.severity == severity } }
    let blind = runs.filter { $0.diagnoses.isEmpty }.count
    return DoctorReport(
      trainings: runs.count, findings: sorted,
      missing: blind == 0
        ? nil
        : "\(blind == runs.count ? "The trainings were" : "\(blind) of the \(runs.count) trainings were") not looked into: "
          + "with --diagnose, norma compare and norma train also record what shows vanishing and exploding gradients, dead "
          + "ReLUs and how far batch and running statistics are apart.")
  }

  private func findingsOf(_ run: RunRecord) -> [Finding] {
    let running = badRunningStatistics(run)
    let leaning = leaning(run)
    return [
      failure(run), unfinished(run), collapse(run), explosion(run), vanishing(run), deadReLUs(run), running, leaning,
      running == nil && leaning == nil ? batchOfOne(run) : nil, overfitting(run), dataWait(run), stillImproving(run),
    ].compactMap { $0 }
  }

  private func name(_ run: RunRecord) -> String { runs.count { $0.norm == run.norm } > 1 ? run.fileStem : run.norm }

  private func finding(
    _ trouble: Finding.Trouble, _ severity: Finding.Severity, _ run: RunRecord, _ evidence: String, _ remedy: String
  ) -> Finding {
    Finding(trouble: trouble, severity: severity, runs: [name(run)], evidence: evidence, remedy: remedy)
  }

  // MARK: - The end of a training

  private func failure(_ run: RunRecord) -> Finding? {
    guard let failure = run.failure else { return nil }
    guard run.hasDiverged else {
      return finding(
        .failed, .serious, run, "It stopped with: \(failure)",
        "Do what the message says, then go on with --resume, which tries it again.")
    }
    let losses = run.history.map { fixed($0.loss, 3) }.suffix(5).joined(separator: " ")
    let gradients = run.diagnoses.suffix(5).map { short($0.surface.gradientNorm) }.joined(separator: " ")
    return finding(
      .diverged, .serious, run,
      "It stopped with: \(failure)" + (losses.isEmpty ? "" : ". Training loss of the last epochs: \(losses)")
        + (gradients.isEmpty ? "" : "; norm of the gradient: \(gradients)"),
      "A --learning-rate of a tenth of \(run.cell.learningRate), a --schedule that starts low (one-cycle)"
        + (run.norm == "none" ? ", or a norm: without one large rates diverge." : ".")
        + " If it still fails, look for extreme values in the images.")
  }

  private func unfinished(_ run: RunRecord) -> Finding? {
    guard !run.isFinished else { return nil }
    let epochs = configuration["epochs"].map { " of \($0)" } ?? ""
    return finding(
      .interrupted, .warning, run,
      "It has \(run.history.count)\(epochs) epochs: it was interrupted or is still running.",
      "Go on with norma compare --resume FOLDER, or norma train --resume FOLDER: from the last checkpoint, to the same result."
    )
  }

  /// Cells of the grid that no training was begun for.
  private func notThere() -> Finding? {
    func list<Value>(_ name: String, _ make: (String) -> Value?) -> [Value] {
      configuration[name]?.split(separator: ",").compactMap { make(String($0)) } ?? []
    }
    guard let first = configuration["seed"].flatMap(UInt64.init),
      let count = configuration["seeds"].flatMap(UInt64.init), count <= 100_000
    else { return nil }
    let rates = list("learning-rate", Double.init)
    let begun = Set(runs.map(\.cell))
    var (expected, missing) = (0, 0)
    func variants(_ name: String) -> [String] { configuration[name] == nil ? [""] : list(name, { $0 }) }
    let contenders = list("norms", { $0 }).flatMap { norm in
      variants("attention").flatMap { kind in
        variants("optimizers").map { CellRecord.contender(norm, variants: [kind, $0]) }
      }
    }
    for norm in contenders {
      for batchSize in list("batch-size", { Int($0) }) {
        for rate in rates {
          for seed in 0..<count {
            expected += 1
            let cell = CellRecord(norm: norm, batchSize: batchSize, learningRate: rate, seed: first &+ seed)
            if !begun.contains(cell) { missing += 1 }
          }
        }
      }
    }
    guard missing > 0 else { return nil }
    return Finding(
      trouble: .interrupted, severity: .warning, runs: [],
      evidence: "\(missing) of the \(expected) trainings were not begun.",
      remedy: "Give the same command with --output and --resume.")
  }

  private func collapse(_ run: RunRecord) -> Finding? {
    guard let constant = run.collapsedToClass else { return nil }
    let accuracy =
      run.history.last?.validationScores[ScoreName.accuracy.rawValue].map { ", with an accuracy of \(fixed($0, 4))" }
      ?? ""
    let dead = run.diagnoses.last?.rectifiers.last.map {
      "; of the \($0.channels) channels of the last ReLU (\($0.layer)) \($0.deadChannels) are dead"
    }
    return finding(
      .collapsed, .serious, run,
      "After the last epoch it gives class \(constant) for \(data.everything) of the validation\(accuracy)\(dead ?? "").",
      configuration["head"] == "seed"
        ? "--head plain, since the ReLU in front of the last convolution can die; another --seed or a lower --learning-rate."
        : "A lower --learning-rate\(data.unit == "slices" ? ", --class-weights balanced" : ""), or more --epochs.")
  }

  // MARK: - Gradients and ReLUs

  private func explosion(_ run: RunRecord) -> Finding? {
    guard run.failure == nil, let last = run.diagnoses.last else { return nil }
    let (first, now) = (run.diagnoses[0].surface.gradientNorm, last.surface.gradientNorm)
    let ratio = last.gradientRatio ?? 0
    let evidence: String
    if !now.isFinite || now > DoctorThreshold.gradientGrowth * first {
      evidence = "The norm of the gradient went from \(short(first)) after the first epoch to \(short(now))."
    } else if ratio > DoctorThreshold.exploding {
      evidence = "The gradient of the first layer is \(short(ratio)) times that of the last."
    } else {
      return nil
    }
    return finding(
      .explodingGradient, .warning, run, evidence,
      "A lower --learning-rate" + (run.norm == "none" ? ", or a norm." : "; look at the losses for jumps."))
  }

  private func vanishing(_ run: RunRecord) -> Finding? {
    guard let last = run.diagnoses.last, let first = last.gradients.first, last.surface.gradientNorm.isFinite,
      first.norm < DoctorThreshold.vanishing * last.surface.gradientNorm
    else { return nil }
    return finding(
      .vanishingGradient, .warning, run,
      "After epoch \(last.epoch) the gradient of the first layer (\(first.layer)) has norm \(short(first.norm)), the whole one "
        + "\(short(last.surface.gradientNorm)).",
      run.norm == "none"
        ? "A norm: they are made for this; group:8 needs no large batch."
        : "Look for dead ReLUs, take a lower --learning-rate, or a smaller network.")
  }

  private func deadReLUs(_ run: RunRecord) -> Finding? {
    let rectifiers = (run.diagnoses.last?.rectifiers ?? []).filter {
      $0.valuesPerChannel >= DoctorThreshold.valuesForDeath
    }
    let (channels, dead) = rectifiers.reduce((0, 0)) { ($0.0 + $1.channels, $0.1 + $1.deadChannels) }
    guard let worst = rectifiers.max(by: { $0.deadPart < $1.deadPart }),
      worst.deadPart >= DoctorThreshold.deadInLayer
        || Double(dead) >= DoctorThreshold.deadInAll * Double(channels)
    else { return nil }
    return finding(
      .deadReLUs, worst.deadPart == 1 ? .serious : .warning, run,
      "After the last epoch \(dead) of \(channels) channels give 0 everywhere on the probe; most in \(worst.layer), "
        + "\(worst.deadChannels) of \(worst.channels).",
      "A lower --learning-rate or another --seed"
        + (run.norm == "none"
          ? "; a norm centres what the ReLUs are given."
          : configuration["head"] == "seed" && worst.layer.hasPrefix("head")
            ? "; --head plain has no ReLU there." : "."))
  }

  // MARK: - Statistics of the batch

  private func badRunningStatistics(_ run: RunRecord) -> Finding? {
    guard run.usesRunningStatistics, run.samplesOfStatistics(workers) <= DoctorThreshold.smallBatch else { return nil }
    let measured = run.lossUnderRunning
    if let measured, measured < DoctorThreshold.lossUnderRunning { return nil }
    let curves = unusualCurves(run)
    guard curves != nil || measured ?? 0 > DoctorThreshold.lossSurelyUnderRunning else { return nil }
    var evidence = curves.map { ["At batch size \(run.cell.batchSize) the validation loss is \($0)."] } ?? []
    if let measured {
      evidence.append(
        "On the same training samples the loss is \(fixed(measured, 2)) times as high with running statistics as with the batch's in the worst epoch"
          + (run.gap.map {
            ($0.mean.map { "; their means are \(fixed($0, 2)) deviations apart" } ?? "")
              + ", their variances a factor of \(fixed(exp($0.variance), 2))"
          } ?? "") + ".")
    }
    return finding(
      .runningStatistics, .warning, run, evidence.joined(separator: " "),
      "A larger --batch-size; running statistics over more batches (the norm's option momentum=0.01, or reestimateStatistics in the "
        + "library); or a norm that does not look at the batch, such as "
        + (run.kind == "switchable" ? "switchable:instance+layer." : "group:8."))
  }

  /// How the losses differ from those of norms that do not look at the batch; nil where they do not.
  private func unusualCurves(_ run: RunRecord) -> String? {
    guard let excess = run.excessLoss, let fluctuation = run.fluctuation else { return nil }
    let others = runs.filter {
      !$0.usesRunningStatistics && $0.cell.batchSize == run.cell.batchSize && $0.excessLoss != nil
    }
    let text =
      "\(fixed(excess, 2)) times the training loss (median after the first epoch) and changes by \(percent(fluctuation)) from "
      + "epoch to epoch"
    guard let usual = median(others.compactMap(\.excessLoss)) else {
      return excess > DoctorThreshold.excessAlone && fluctuation > DoctorThreshold.fluctuation ? text : nil
    }
    guard excess > DoctorThreshold.excessOverOthers * usual else { return nil }
    let norms = others.map(\.norm).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    return "\(text); under \(norms.joined(separator: ", ")) it is \(fixed(usual, 2)) times"
  }

  /// Processes that trained together.
  private var workers: Int { configuration["workers"].flatMap(Int.init) ?? 1 }

  private func leaning(_ run: RunRecord) -> Finding? {
    guard run.samplesOfStatistics(workers) < DoctorThreshold.batchForSharing, let share = run.batchShare,
      share > DoctorThreshold.batchShare
    else { return nil }
    return finding(
      .leansOnBatch, .note, run,
      "\(percent(share)) of its statistics, averaged over layers, means and variances, are those of batches of "
        + "\(run.samplesOfStatistics(workers)); in evaluation running ones take their place.",
      "switchable:instance+layer leaves the batch out; or a larger --batch-size.")
  }

  private func batchOfOne(_ run: RunRecord) -> Finding? {
    guard run.samplesOfStatistics(workers) == 1, run.usesBatchStatistics else { return nil }
    return finding(
      .batchOfOne, run.kind == "switchable" ? .note : .warning, run,
      "With one sample per batch, \(run.norm) trains on that sample's own statistics, as instance normalization does"
        + (run.usesRunningStatistics ? ", and is evaluated with running ones." : "."),
      "A --batch-size of 2 or more, "
        + (run.kind == "switchable"
          ? "or switchable:instance+layer." : "or a norm made for it: group:8, instance, switchable."))
  }

  // MARK: - Curves

  private func overfitting(_ run: RunRecord) -> Finding? {
    guard let best = run.bestEpoch, let last = run.history.last else { return nil }
    let after = run.history.filter { $0.epoch > best.epoch }
    let high = after.suffix(DoctorThreshold.epochsOverBest)
    guard high.count == DoctorThreshold.epochsOverBest,
      high.allSatisfy({ $0.validationLoss > DoctorThreshold.lossOverBest * best.validationLoss }),
      // Rising, not a fluctuation: the later half is above the earlier one.
      mean(after.suffix(after.count / 2 + 1).map(\.validationLoss))
        > mean(after.prefix(after.count / 2 + 1).map(\.validationLoss)),
      last.loss * DoctorThreshold.lossOverBest < best.loss
    else { return nil }
    return finding(
      .overfitting, .warning, run,
      "The validation loss is lowest after epoch \(best.epoch) (\(fixed(best.validationLoss, 4))) and rises to "
        + "\(fixed(last.validationLoss, 4)) by epoch \(last.epoch), while the training loss falls from \(fixed(best.loss, 4)) to "
        + "\(fixed(last.loss, 4)).",
      "The scores are of epoch \(best.epoch), so fewer --epochs save time; more data, --augment full, --dropout or "
        + "--weight-decay may give better ones.")
  }

  private func dataWait(_ run: RunRecord) -> Finding? {
    guard let share = run.dataWaitShare, share > DoctorThreshold.dataWait,
      share * run.trainingSeconds > DoctorThreshold.dataWaitSeconds
    else { return nil }
    return finding(
      .dataWait, .note, run,
      "\(percent(share)) of the \(clock(run.trainingSeconds)) of training were spent waiting for samples.",
      "Fewer --threads leave cores to the loader; --augment flips is much cheaper than full, and no --border-weights.")
  }

  private func stillImproving(_ run: RunRecord) -> Finding? {
    guard run.isFinished, run.failure == nil, let last = run.history.last, run.bestEpoch?.epoch == last.epoch,
      run.history.count >= 3,
      let before = run.history.dropLast().map(\.validationLoss).min(),
      last.validationLoss < (1 - DoctorThreshold.lastGain) * before
    else { return nil }
    return finding(
      .stillImproving, .note, run,
      "The last epoch, \(last.epoch), has the lowest validation loss: \(fixed(last.validationLoss, 4)) after \(fixed(before, 4)).",
      "More --epochs.")
  }
}

extension RunRecord {
  fileprivate var kind: String { String(norm.prefix { $0 != ":" }) }

  /// The options after the norm's name.
  private var words: [Substring] { norm.split(separator: ":").dropFirst().map { $0 } }

  private static let batchBranches = ["batch", "synchronized", "ghost"]

  /// Samples that the norm's batch statistics are taken over.
  fileprivate func samplesOfStatistics(_ workers: Int) -> Int {
    words.contains { $0.contains("synchronized") } ? cell.batchSize * workers : cell.batchSize
  }

  /// Whether training takes statistics over samples.
  fileprivate var usesBatchStatistics: Bool {
    switch kind {
    case "batch", "evo-b0": return true
    case "switchable":
      let branches = words.first { word in
        ["instance", "layer", "batch", "synchronized", "ghost", "group"].contains(where: word.hasPrefix)
      }
      return branches.map {
        $0.split(separator: "+").contains { branch in Self.batchBranches.contains(where: branch.hasPrefix) }
      }
        ?? true
    default: return false
    }
  }

  /// Whether evaluation uses other statistics than training.
  fileprivate var usesRunningStatistics: Bool {
    usesBatchStatistics && !words.contains("untracked") || kind == "instance" && words.contains("tracked")
  }

  /// The share of batch statistics in switchable normalization's, or nil.
  fileprivate var batchShare: Double? {
    let shares = (mixes.last ?? []).flatMap { mix in
      mix.branches.indices.filter { Self.batchBranches.contains(where: mix.branches[$0].hasPrefix) }
        .map { (mix.mean[$0] + mix.variance[$0]) / 2 }
    }
    return shares.isEmpty ? nil : mean(shares)
  }

  /// How many times the training loss the validation loss is: median over the epochs after the first; nil for fewer than three
  /// epochs.
  fileprivate var excessLoss: Double? {
    guard history.count >= 3 else { return nil }
    return median(history.dropFirst().map { $0.validationLoss / $0.loss })
  }

  /// How many times the loss of the probe is with running statistics what it is with the batch's: the worst epoch, since it
  /// fluctuates, but for the first where there are more.
  fileprivate var lossUnderRunning: Double? {
    diagnoses.suffix(max(1, diagnoses.count - 1)).map { $0.evaluationLoss / $0.surface.loss }.filter(\.isFinite).max()
  }

  /// Mean relative change of the validation loss between epochs, as |log|.
  fileprivate var fluctuation: Double? {
    let changes = zip(history, history.dropFirst()).map { abs(log($1.validationLoss / $0.validationLoss)) }
      .filter(\.isFinite)
    return changes.isEmpty ? nil : mean(changes)
  }

  /// Between batch and running statistics after the last epoch, mean over the layers.
  fileprivate var gap: (mean: Double?, variance: Double)? {
    guard let inputs = diagnoses.last?.inputs else { return nil }
    let (means, variances) = (inputs.compactMap(\.meanGap), inputs.compactMap(\.varianceGap))
    return variances.isEmpty ? nil : (means.isEmpty ? nil : mean(means), mean(variances))
  }
}

extension RectifierRecord {
  fileprivate var deadPart: Double { Double(deadChannels) / Double(max(1, channels)) }
}

private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }

/// Of the finite ones; the upper one of two in the middle.
private func median(_ values: [Double]) -> Double? {
  let sorted = values.filter(\.isFinite).sorted()
  return sorted.isEmpty ? nil : sorted[sorted.count / 2]
}

private func percent(_ share: Double) -> String { "\(fixed(100 * share, 0)) %" }

/// Two digits, with an exponent where that is shorter: 0.31, 1200, 4.5e-07.
private func short(_ value: Double) -> String {
  guard value.isFinite, value != 0 else { return "\(value)" }
  let exponent = log10(abs(value)).rounded(.down)
  if (-3...4).contains(exponent) { return fixed(value, max(0, 1 - Int(exponent))) }
  return "\(fixed(value / pow(10, exponent), 1))e\(exponent < 0 ? "-" : "")\(Int(abs(exponent)))"
}
