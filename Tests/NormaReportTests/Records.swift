import NormaRecords

/// An epoch whose numbers follow from a few.
func epoch(
  _ number: Int, loss: Double = 0.5, validationLoss: Double = 0.25, validationAccuracy: Double = 0.875,
  seconds: Double = 10, wait: Double = 0
) -> EpochRecord {
  EpochRecord(
    epoch: number, loss: loss, accuracy: 0.75, validationLoss: validationLoss,
    validationAccuracy: validationAccuracy, validationDice: [0.5, 0.625],
    validationIntersectionOverUnion: [0.25, 0.375], learningRate: 0.001, seconds: seconds,
    validationSeconds: 1,
    dataWaitSeconds: wait)
}

func norm(_ name: String, _ history: [EpochRecord] = [epoch(1)], steps: [Double] = [10, 30, 20]) -> NormRecord {
  NormRecord(
    norm: name, totalParameters: 1_234_567, trainableParameters: 1_234_000, history: history,
    stepMilliseconds: steps, dataWaitMilliseconds: steps.map { _ in 1 }, peakTensorBytes: 412 << 20,
    peakProcessBytes: nil, failure: nil, collapsedToClass: nil, mixes: [])
}

func comparison(_ norms: [NormRecord]) -> ComparisonRecord {
  ComparisonRecord(
    started: "2026-01-02T03:04:05Z",
    environment: EnvironmentRecord(norma: "1", libtorch: "2", processor: "p", threads: 2, device: "cpu"),
    configuration: ["seed": "0", "images": "a/\"b\".tif"],
    data: DataRecord(
      name: "cells", isSynthetic: true, trainingSlices: 20, validationSlices: 4, height: 64, width: 96,
      channels: 1,
      classes: 2, constantAccuracy: 0.77514),
    norms: norms)
}
