import ArgumentParser
import NormaData
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNN
import NormaRecords
import NormaReport
import NormaTraining

extension Comparison {
  /// Segmentation of a stack by the U-Net.
  func unet(_ setting: Setting) throws -> Prepared<SegmentationWorkload> {
    let geometry = network.options(.none).geometry
    let loaded = try data.load(
      crop: training.crop ?? geometry.nearest(to: 512), isRepeated: setting.isRepeated,
      earlierTestSlices: setting.earlier?.data.testSamples)
    let least = min(512, loaded.training.height, loaded.training.width)
    let crop = training.crop ?? geometry.nearest(to: least)
    let isVolume = network.dimensions == 3
    if training.cropSlices != nil, !isVolume {
      throw ValidationError("--crop-slices is for volumes: give --dimensions 3 too.")
    }
    var sampling = SampleOptions(
      crop: crop, batchSize: setting.batchSize, samplesPerEpoch: training.samplesPerEpoch ?? 818, seed: training.seed,
      augmentation: try (training.augment ?? .flips).ofCrops(),
      borderWeighting: training.borderWeights == true ? BorderWeighting() : nil)
    sampling.slices = isVolume ? training.cropSlices ?? geometry.nearest(to: min(16, loaded.training.pages)) : 1
    let work = SegmentationWorkload(
      training: loaded.training, validation: loaded.validation, test: loaded.test, options: setting.options,
      sampling: sampling,
      loss: SegmentationLoss(
        kind: training.loss ?? .crossEntropy,
        classWeights: (training.classWeights ?? .equal).weights(for: loaded.training))
    ) { [network] in
      network.options($0, inputChannels: loaded.training.channels, classes: loaded.training.classes)
    }
    let (scored, classes) = (work.scored, loaded.training.classes)
    return Prepared(
      work: work,
      data: DataRecord(
        name: loaded.name, isSynthetic: loaded.isSynthetic, trainingSamples: loaded.training.pages,
        validationSamples: loaded.validation.pages, testSamples: loaded.test?.pages ?? 0,
        height: loaded.training.height, width: loaded.training.width, channels: loaded.training.channels,
        classes: classes, constantScores: [.accuracy: scored.classFrequencies.max() ?? 0].byName,
        digest: ([loaded.training, loaded.validation] + (loaded.test.map { [$0] } ?? [])).map(\.digest).joined(
          separator: "-")),
      configuration: configuration(sampling, testSlices: loaded.test?.pages ?? 0),
      scores: classes == 2 ? model.scores : [.iou, .accuracy, .dice, .loss],
      metadata: { (($0 as? any DescribedNetwork)?.options.metadata ?? [:]).merging(loaded.training.metadata) { $1 } },
      write: { try Self.write($0, of: scored, to: $1) })
  }

  private func configuration(_ sampling: SampleOptions, testSlices: Int) -> [String: String] {
    let crop = sampling.crop
    var all = [
      "val-slices": "\(data.heldSlices)", "test-slices": "\(testSlices)",
      "samples-per-epoch": "\(training.samplesPerEpoch ?? 818)", "crop": "\(crop)",
      "augment": (training.augment ?? .flips).rawValue, "loss": (training.loss ?? .crossEntropy).rawValue,
      "class-weights": (training.classWeights ?? .equal).description,
      "border-weights": "\(training.borderWeights ?? false)",
    ]
    if sampling.slices > 1 { all["crop-slices"] = "\(sampling.slices)" }
    if let ignore = data.ignoreLabel { all["ignore-label"] = "\(ignore)" }
    if let images = data.images, let labels = data.labels {
      all["images"] = images
      all["labels"] = labels
    } else {
      all["synthetic-size"] = "\(data.sizeOfSynthetic(crop: crop))"
      all["synthetic-seed"] = "\(data.seedOfSynthetic)"
      all["synthetic-slices"] = "\(data.slicesOfSynthetic)"
    }
    return all.merging(network.options(.none).recorded) { $1 }
  }

  private static func write(
    _ evaluation: SegmentationTask.Evaluation, of slices: SegmentationDataset, to files: PredictionFiles
  ) throws {
    let (height, width) = (slices.height, slices.width)
    let stack = try ImageStack(
      pages: slices.pages, channels: slices.classes == 2 ? 1 : slices.classes, height: height,
      width: width, format: .float32, values: evaluation.probabilities.flatMap { $0 })
    try TIFF.write(stack, to: "\(files.folder)/predictions-\(files.stem).tif", compression: .deflate)
    guard files.board != nil else { return }
    for page in 0..<slices.pages {
      let overlay = try Overlay.image(
        slices.image(page: page), truth: slices.labels(page: page),
        prediction: evaluation.predictions[page], ignored: SegmentationDataset.ignoredClass, height: height,
        width: width)
      try files.writePicture(overlay, "slice-\(slices.stackPages.lowerBound + page)")
    }
  }
}
