import NormaRecords
import NormaReport
import Testing

@Suite struct DoctorTests {
  // MARK: - Records

  /// Training and validation losses of a run.
  private func history(_ losses: [Double], _ validation: [Double], seconds: Double = 10, wait: Double = 0)
    -> [EpochRecord]
  {
    zip(losses, validation).enumerated().map { index, pair in
      epoch(index + 1, loss: pair.0, validationLoss: pair.1, seconds: seconds, wait: wait)
    }
  }

  private let falling = [0.5, 0.3, 0.25, 0.24, 0.24]

  /// Validation a little below training, at its plateau in the end.
  private func healthy(_ norm: String = "group:8", batchSize: Int = 4, seed: UInt64 = 0) -> RunRecord {
    var run = run(norm, history(falling, [0.45, 0.28, 0.23, 0.22, 0.221]), batchSize: batchSize, seed: seed)
    run.diagnoses = (1...5).map { diagnosis($0) }
    return run
  }

  private func diagnosis(
    _ epoch: Int, gap: (mean: Double, variance: Double)? = nil, dead: Int = 1, values: Int = 4096,
    first: Double = 0.02, last: Double = 0.03, whole: Double = 0.3, evaluation: Double = 0.3
  ) -> DiagnosisRecord {
    DiagnosisRecord(
      epoch: epoch, seconds: 1,
      inputs: ["encoder.0", "head"].map {
        LayerInputRecord(layer: $0, mean: 0, variance: 1, meanGap: gap?.mean, varianceGap: gap?.variance)
      },
      rectifiers: [
        RectifierRecord(layer: "encoder.0", channels: 8, valuesPerChannel: values, deadChannels: 0, zeroShare: 0.5),
        RectifierRecord(layer: "head.relu", channels: 4, valuesPerChannel: values, deadChannels: dead, zeroShare: 0.6),
      ],
      gradients: [
        GradientRecord(layer: "encoder.0.conv", norm: first, weightNorm: 1),
        GradientRecord(layer: "head.conv2", norm: last, weightNorm: 1),
      ],
      surface: LossSurfaceRecord(
        learningRate: 0.001, loss: 0.3, gradientNorm: whole, steps: [1], losses: [0.2], smoothness: 1),
      evaluationLoss: evaluation)
  }

  private func changed(_ run: RunRecord, _ change: (inout RunRecord) -> Void) -> RunRecord {
    var run = run
    change(&run)
    return run
  }

  private func troubles(_ runs: [RunRecord]) -> [Finding.Trouble] {
    comparison(runs).examined().findings.map(\.trouble)
  }

  /// The only finding.
  private func finding(_ runs: [RunRecord]) throws -> Finding {
    let found = comparison(runs).examined().findings
    #expect(found.count == 1, "\(found)")
    return try #require(found.first)
  }

  // MARK: - Health

  @Test func aHealthyComparisonHasNoFindings() {
    let runs =
      ["none", "batch", "switchable", "group:8", "batch:ghost=2"].map { healthy($0) }
      + ["group:8", "switchable:instance+layer", "instance", "none"].map { healthy($0, batchSize: 1) }
    let report = comparison(runs).examined()
    #expect(report.findings.isEmpty, "\(report.findings)")
    #expect(report.missing == nil && report.trainings == 9)
    #expect(report.text == "Nothing found in 9 trainings.")
  }

  @Test func whatWasNotLookedIntoIsSaid() throws {
    let blind = changed(healthy()) { $0.diagnoses = [] }
    let all = try #require(comparison([blind]).examined().missing)
    #expect(all.contains("--diagnose") && all.contains("dead ReLUs") && all.hasPrefix("The trainings were not"))
    #expect(comparison([blind, healthy("none")]).examined().missing?.hasPrefix("1 of the 2") == true)
    #expect(comparison([blind]).examined().text.contains("Nothing found in 1 training.\n\nThe trainings were not"))
  }

  // MARK: - Troubles

  @Test(arguments: ["batch", "batch:momentum=0.3", "evo-b0", "switchable", "switchable:instance+ghost(2)"])
  func runningStatisticsAreNamed(_ norm: String) throws {
    // The README's measurement at batch size 1, here at 2.
    let bad = changed(healthy(norm, batchSize: 2)) {
      $0.diagnoses = []
      $0.history = history([0.241, 0.204, 0.198, 0.192, 0.189], [0.324, 0.304, 0.531, 0.250, 0.287])
    }
    let group = healthy(batchSize: 2)
    let found = try finding([bad, group])
    #expect(found.trouble == .runningStatistics && found.severity == .warning && found.runs == [norm])
    #expect(found.evidence.contains("1.52 times") && found.evidence.contains("under group:8 it is 0.92 times"))
    #expect(found.evidence.contains("changes by 38 %"))
    #expect(found.remedy.contains("--batch-size") && found.remedy.contains("reestimateStatistics"))
    // Alone it fluctuates enough; a constant excess may have other causes.
    #expect(troubles([bad]) == [.runningStatistics])
    let steady = changed(bad) { $0.history = history(falling, [0.76, 0.46, 0.38, 0.36, 0.361]) }
    #expect(troubles([changed(steady) { $0.history[0].validationLoss = 0.5 }]) == [])
    #expect(troubles([steady, group]) == [.runningStatistics])
    // Other norms have the same: not the statistics.
    #expect(troubles([bad, changed(bad) { $0.cell.norm = "group:8" }]) == [])
    // Large batches, and norms that evaluate as they train.
    #expect(troubles([changed(bad) { $0.cell.batchSize = 16 }, changed(group) { $0.cell.batchSize = 16 }]) == [])
    #expect(troubles([changed(bad) { $0.cell.norm = "switchable:instance+layer" }, group]) == [])
    #expect(troubles([changed(bad) { $0.cell.norm = "batch:untracked" }, group]) == [])
    // What was measured inside decides.
    func measured(_ run: RunRecord, _ evaluation: Double) -> RunRecord {
      changed(run) { $0.diagnoses = [diagnosis(1), diagnosis(5, gap: (0.5, 1), evaluation: evaluation)] }
    }
    let apart = try finding([measured(bad, 0.33), group])
    #expect(apart.evidence.contains("is 1.10 times as high with running statistics"))
    #expect(apart.evidence.contains("means are 0.50 deviations apart, their variances a factor of 2.72"))
    #expect(troubles([measured(bad, 0.31), group]) == [], "another cause")
    #expect(troubles([measured(healthy(norm, batchSize: 2), 0.33), group]) == [])
    let sure = try finding([measured(healthy(norm, batchSize: 2), 0.45), group])
    #expect(sure.evidence.hasPrefix("On the same training samples the loss is 1.50 times"))
  }

  @Test func switchableThatLeansOnTheBatchIsNamed() throws {
    func mixed(_ share: Double, batchSize: Int) -> RunRecord {
      changed(healthy("switchable", batchSize: batchSize)) {
        let rest = (1 - share) / 2
        // Only the last epoch counts.
        $0.mixes = [[share, 0.9], [share, share]].map { shares in
          shares.map {
            MixRecord(
              layer: "n", branches: ["instance", "layer", "batch"], mean: [rest, rest, $0],
              variance: [rest, rest, $0])
          }
        }
      }
    }
    let found = try finding([mixed(0.4, batchSize: 2)])
    #expect(found.trouble == .leansOnBatch && found.severity == .note)
    #expect(found.evidence.hasPrefix("40 % of its statistics") && found.remedy.contains("switchable:instance+layer"))
    #expect(troubles([mixed(0.2, batchSize: 2)]) == [])
    #expect(troubles([mixed(0.4, batchSize: 4)]) == [])
  }

  @Test func batchesOfOneAreNamed() throws {
    let found = try finding([healthy("batch", batchSize: 1)])
    #expect(found.trouble == .batchOfOne && found.severity == .warning)
    #expect(found.evidence.contains("evaluated with running ones"))
    let switchable = try finding([healthy("switchable", batchSize: 1)])
    #expect(switchable.trouble == .batchOfOne && switchable.severity == .note)
    #expect(troubles([healthy("batch", batchSize: 2)]) == [])
  }

  @Test func collapseIsNamed() throws {
    let found = try finding([changed(healthy()) { $0.collapsedToClass = 1 }])
    #expect(found.trouble == .collapsed && found.severity == .serious)
    #expect(
      found.evidence.contains("class 1") && found.evidence.contains("of the 4 channels of the last ReLU (head.relu) 1"))
    #expect(found.remedy.contains("--class-weights"))
    var seed = comparison([changed(healthy()) { $0.collapsedToClass = 0 }])
    seed.configuration["head"] = "seed"
    #expect(seed.examined().findings[0].remedy.contains("--head plain"))
  }

  @Test func failuresAreNamed() throws {
    let diverged = try finding([
      changed(healthy("none")) { $0.failure = "the loss became NaN in epoch 6, step 1 at learning rate 0.001" }
    ])
    #expect(diverged.trouble == .diverged && diverged.severity == .serious)
    #expect(diverged.evidence.contains("became NaN in epoch 6") && diverged.evidence.contains("0.500 0.300 0.250"))
    #expect(diverged.evidence.contains("gradient: 0.30 0.30") && diverged.remedy.contains("a norm"))
    let failed = try finding([changed(healthy()) { $0.failure = "cannot normalize [1, 2, 1, 1]" }])
    #expect(failed.trouble == .failed && failed.evidence.contains("cannot normalize"))
  }

  @Test func explodingGradientsAreNamed() throws {
    func run(_ last: DiagnosisRecord) -> RunRecord { changed(healthy()) { $0.diagnoses[4] = last } }
    let grown = try finding([run(diagnosis(5, first: 2, last: 2, whole: 45))])
    #expect(grown.trouble == .explodingGradient && grown.evidence.contains("from 0.30 after the first epoch to 45."))
    let backwards = try finding([run(diagnosis(5, first: 5, last: 0.001, whole: 6))])
    #expect(backwards.trouble == .explodingGradient && backwards.evidence.contains("5000 times"))
    #expect(try finding([run(diagnosis(5, whole: .infinity))]).trouble == .explodingGradient)
    #expect(troubles([run(diagnosis(5, first: 2, last: 2, whole: 20))]) == [])
  }

  @Test func vanishingGradientsAreNamed() throws {
    func run(_ first: Double) -> RunRecord { changed(healthy()) { $0.diagnoses[4] = diagnosis(5, first: first) } }
    let found = try finding([run(2.5e-5)])
    #expect(found.trouble == .vanishingGradient && found.severity == .warning)
    #expect(found.evidence.contains("(encoder.0.conv) has norm 2.5e-5, the whole one 0.30"))
    #expect(troubles([run(1e-3)]) == [])
  }

  @Test func deadReLUsAreNamed() throws {
    func run(_ dead: Int, values: Int = 4096) -> RunRecord {
      changed(healthy()) { $0.diagnoses[4] = diagnosis(5, dead: dead, values: values) }
    }
    let half = try finding([run(2)])
    #expect(half.trouble == .deadReLUs && half.severity == .warning)
    #expect(half.evidence.contains("2 of 12 channels") && half.evidence.contains("head.relu, 2 of 4"))
    #expect(try finding([run(4)]).severity == .serious)
    #expect(troubles([run(1)]) == [])
    #expect(troubles([run(4, values: 16)]) == [], "too few values to tell")
  }

  @Test func overfittingIsNamed() throws {
    let losses = [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    func run(_ losses: [Double], _ validation: [Double]) -> RunRecord {
      changed(healthy()) { $0.history = history(losses, validation) }
    }
    let found = try finding([run(losses, [0.45, 0.3, 0.33, 0.36, 0.4, 0.45])])
    #expect(found.trouble == .overfitting && found.evidence.contains("lowest after epoch 2 (0.3000)"))
    #expect(found.evidence.contains("from 0.3000 to 0.0200") && found.remedy.contains("--augment full"))
    // Within noise; falling again; as high but training stands still.
    #expect(troubles([run(losses, [0.45, 0.3, 0.31, 0.305, 0.31, 0.31])]) == [])
    #expect(troubles([run(losses, [0.45, 0.3, 0.5, 0.4, 0.35, 0.32])]) == [])
    #expect(troubles([run([0.5, 0.3, 0.3, 0.3, 0.3, 0.3], [0.45, 0.3, 0.33, 0.36, 0.4, 0.45])]) == [])
  }

  @Test func theEndOfTheTrainingIsLookedAt() throws {
    let steep = changed(healthy()) { $0.history = history(falling, [0.45, 0.4, 0.35, 0.3, 0.25]) }
    let found = try finding([steep])
    #expect(found.trouble == .stillImproving && found.severity == .note)
    #expect(found.evidence.contains("epoch, 5,") && found.evidence.contains("0.2500 after 0.3000"))
    let flat = changed(healthy()) { $0.history = history(falling, [0.45, 0.4, 0.35, 0.3, 0.295]) }
    #expect(troubles([flat]) == [])
  }

  @Test func waitingForDataIsNamed() throws {
    func run(seconds: Double, wait: Double) -> RunRecord {
      changed(healthy()) {
        $0.history = history(falling, [0.45, 0.28, 0.23, 0.22, 0.221], seconds: seconds, wait: wait)
      }
    }
    let found = try finding([run(seconds: 10, wait: 2.5)])
    #expect(found.trouble == .dataWait && found.evidence.contains("25 % of the 0:50"))
    #expect(troubles([run(seconds: 100, wait: 5)]) == [], "a small share")
    #expect(troubles([run(seconds: 1, wait: 0.5)]) == [], "a short run")
  }

  @Test func whatIsNotThereIsNamed() throws {
    var record = comparison([changed(healthy("none")) { $0.isFinished = false }])
    record.configuration = [
      "epochs": "8", "norms": "none,group:8", "batch-size": "4", "learning-rate": "0.001", "seed": "0", "seeds": "2",
    ]
    let found = record.examined().findings
    #expect(found.map(\.trouble) == [.interrupted, .interrupted])
    #expect(found[0].evidence.contains("5 of 8 epochs") && found[0].remedy.contains("--resume"))
    #expect(found[1].runs.isEmpty && found[1].evidence.hasPrefix("3 of the 4 trainings"))
    record.runs = ["none", "group:8"].flatMap { norm in (0...1).map { healthy(norm, seed: $0) } }
    #expect(record.examined().findings.isEmpty)
    record.runs = []
    #expect(record.examined().findings.map(\.evidence) == ["4 of the 4 trainings were not begun."])
  }

  // MARK: - The report

  @Test func theSameTroubleIsToldOnce() throws {
    let collapsed = (0...2).map { seed in changed(healthy(seed: seed)) { $0.collapsedToClass = 1 } }
    let waiting = changed(healthy("batch", batchSize: 1)) { _ in }
    let report = comparison([waiting] + collapsed).examined()
    #expect(report.findings.map(\.trouble) == [.collapsed, .batchOfOne], "the worst first")
    #expect(report.findings[0].runs == ["group:8-seed0", "group:8-seed1", "group:8-seed2"])
    #expect(report.findings[0].evidence.hasPrefix("group:8-seed0: After"))
    #expect(
      report.text.hasPrefix(
        "2 findings in 4 trainings.\n\nserious: the network predicts one class everywhere (group:8-seed0, "))
    #expect(report.text.contains("\n    → "))
    #expect(report.text.split(separator: "\n").allSatisfy { $0.count <= 100 })
    #expect(try jsonText(of: report).contains("\"trouble\" : \"batch-of-one\""))
  }

  @Test func recordsWithoutDiagnosesAreRead() throws {
    var record = comparison([healthy()])
    let text = try ResultsFile.text(record)
    #expect(try ResultsFile.record(fromText: text) == record)
    // As written before there were any.
    record.runs[0].diagnoses = []
    let old = try ResultsFile.text(record).replacing("      \"diagnoses\" : [\n\n      ],\n", with: "")
    #expect(!old.contains("diagnoses"))
    #expect(try ResultsFile.record(fromText: old) == record)
  }
}
