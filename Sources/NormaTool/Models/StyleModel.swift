import ArgumentParser
import NormaData
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTraining

/// The default factors of the style's part in the loss, for the built-in classifier.
enum StyleWeights {
  static let style = 5.0
  static let adaptive = 1.0
  /// Against noise that the classifier does not see.
  static let totalVariation = 1.0
}

extension NetworkOptions {
  func style(_ norm: Normalization, styles: Int) -> TransformationNetwork.Options {
    var options = TransformationNetwork.Options()
    (options.width, options.normalization, options.styles) = (width ?? 16, norm, styles)
    return options
  }
}

extension Comparison {
  /// Feed-forward style transfer.
  func style(_ setting: Setting) throws -> Prepared<StyleWorkload> {
    let side = data.imageSize ?? 64
    guard side >= 16 else {
      throw ValidationError("--image-size of --model style must be at least 16, got \(side).")
    }
    let isAdaptive = network.network == .adaptive
    guard !isAdaptive || network.width == nil else {
      throw ValidationError("--width is for --network transformation; the adaptive decoder mirrors the classifier.")
    }
    let loaded = try data.loadContents(
      side: side, count: model.defaults.syntheticImages, isRepeated: setting.isRepeated, earlier: setting.earlier)
    let styles = try data.loadStyles(side: side)
    let made: StyleWorkload.Network =
      isAdaptive
      ? .adaptive(stage: "relu3_1")
      : .transformation { [network] norm in network.style(norm, styles: styles.count) }
    // Before the classifier is trained, which takes its time.
    for norm in norms { try made.check(norm) }
    let classifier = try network.features.map(StyleClassifier.init(file:)) ?? trainedClassifier()
    let weights = PerceptualLoss.Weights(
      content: training.contentWeight ?? 1,
      style: training.styleWeight ?? (isAdaptive ? StyleWeights.adaptive : StyleWeights.style),
      totalVariation: StyleWeights.totalVariation)
    let goal = try StyleGoal(
      loss: classifier.loss(weights, forAdaptive: isAdaptive ? "relu3_1" : nil), features: classifier.digest,
      styles: styles, device: setting.options.device)
    let work = StyleWorkload(
      training: loaded.training, validation: loaded.validation, test: loaded.test, goal: goal, options: setting.options,
      sampling: ImageSampling(
        batchSize: setting.batchSize, samplesPerEpoch: training.samplesPerEpoch, seed: training.seed,
        augmentation: (training.augment ?? .none).ofPictures(side: side)), network: made)
    let (scored, untouched) = (work.scored, try goal.evaluateUntouched(work.scored))
    let parts = [loaded.training, loaded.validation, styles] + (loaded.test.map { [$0] } ?? [])
    return Prepared(
      work: work,
      data: loaded.record(
        name: "\(loaded.name) in the style of \(styles.name)", classes: 0,
        constantScores: [.loss: untouched.loss, .style: untouched.style],
        digest: (parts.map(\.digest) + [classifier.digest]).joined(separator: "-")),
      configuration: configuration(weights, side: side, styles: styles).merging(loaded.configuration) { $1 },
      scores: model.scores,
      metadata: { module in
        let own =
          (module as? TransformationNetwork)?.options.metadata ?? (module as? AdaptiveStyleNetwork)?.options.metadata
        return (own ?? [:]).merging(["style_names": styles.name]) { $1 }
      },
      write: { try Self.write($0, of: scored, styles, to: $1) })
  }

  private func trainedClassifier() throws -> StyleClassifier {
    log.info("training the classifier that the loss looks through")
    let classifier = try StyleClassifier()
    log.info(
      """
      it tells \(SyntheticTextures.kindNames.count) kinds of built-in pictures with an accuracy of \
      \(fixed(classifier.accuracy ?? 0, 3))
      """)
    return classifier
  }

  private func configuration(
    _ weights: PerceptualLoss.Weights, side: Int, styles: ImageDataset
  ) -> [String: String] {
    var all = [
      "network": (network.network ?? .transformation).rawValue, "image-size": "\(side)",
      "styles": (data.styles ?? [styles.name]).joined(separator: ","), "style-weight": "\(weights.style)",
      "content-weight": "\(weights.content)",
    ]
    if network.network != .adaptive { all["width"] = "\(network.width ?? 16)" }
    if let features = network.features { all["features"] = features }
    return all.merging(training.recordedOfImages) { $1 }
  }

  /// Picture 0 shows the first contents, their styles and the results, from above; the others are the results, from picture 1 on.
  private static func write(
    _ evaluation: StyleTask.Evaluation, of contents: ImageDataset, _ styles: ImageDataset, to files: PredictionFiles
  ) throws {
    guard files.board != nil else { return }
    let shown = 0..<min(6, contents.count)
    try files.writePicture(
      sheet(
        [
          shown.map { contents.image($0) }, shown.map { styles.image(StyleGoal.style(of: $0, among: styles.count)) },
          shown.map { evaluation.pictures[$0] },
        ], side: contents.height), "image-0")
    for (index, picture) in evaluation.pictures.prefix(40).enumerated() {
      try files.writePicture(sheet([[picture]], side: contents.height), "image-\(index + 1)")
    }
  }

  /// Pictures [3, side, side] of 0…1 in rows and columns.
  private static func sheet(_ rows: [[[Float]]], side: Int) throws -> ImageStack {
    let width = side * (rows.map(\.count).max() ?? 0)
    var values = [Float](repeating: 0, count: 3 * rows.count * side * width)
    for (row, pictures) in rows.enumerated() {
      for (column, picture) in pictures.enumerated() {
        for channel in 0..<3 {
          for y in 0..<side {
            let line = ((channel * rows.count + row) * side + y) * width + column * side
            for x in 0..<side { values[line + x] = (255 * picture[(channel * side + y) * side + x]).rounded() }
          }
        }
      }
    }
    return try ImageStack(
      pages: 1, channels: 3, height: rows.count * side, width: width, format: .uint8, values: values)
  }
}
