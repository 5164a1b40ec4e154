import NormaRecords

/// An epoch whose numbers follow from a few.
func epoch(
  _ number: Int, loss: Double = 0.5, validationLoss: Double = 0.25, validationAccuracy: Double = 0.875,
  seconds: Double = 10, wait: Double = 0
) -> EpochRecord {
  EpochRecord(
    epoch: number, loss: loss, scores: ["accuracy": 0.75], validationLoss: validationLoss,
    validationScores: ["accuracy": validationAccuracy], validationDice: [0.5, 0.625],
    validationIntersectionOverUnion: [0.25, 0.375], learningRate: 0.001, seconds: seconds,
    validationSeconds: 1,
    dataWaitSeconds: wait)
}

/// A finished run.
func run(
  _ norm: String, _ history: [EpochRecord] = [epoch(1)], steps: [Double] = [10, 30, 20], batchSize: Int = 1,
  learningRate: Double = 0.001, seed: UInt64 = 0, scores: [ScoreName: Double] = [:]
) -> RunRecord {
  var run = RunRecord(
    CellRecord(norm: norm, batchSize: batchSize, learningRate: learningRate, seed: seed),
    fileStem: "\(norm)-seed\(seed)", totalParameters: 1_234_567, trainableParameters: 1_234_000)
  run.isFinished = true
  run.history = history
  run.stepMilliseconds = steps
  run.dataWaitMilliseconds = steps.map { _ in 1 }
  run.peakTensorBytes = 412 << 20
  run.scores = Dictionary(uniqueKeysWithValues: scores.map { ($0.key.rawValue, $0.value) })
  return run
}

func comparison(_ runs: [RunRecord], score: ScoreName = .iou) -> ComparisonRecord {
  ComparisonRecord(
    started: "2026-01-02T03:04:05Z",
    environment: EnvironmentRecord(norma: "1", libtorch: "2", processor: "p", threads: 2, device: "cpu"),
    configuration: ["seed": "0", "images": "a/\"b\".tif"],
    data: DataRecord(
      name: "cells", isSynthetic: true, trainingSamples: 20, validationSamples: 4, height: 64, width: 96,
      channels: 1,
      classes: 2, constantScores: ["accuracy": 0.77514]),
    score: score, runs: runs)
}
