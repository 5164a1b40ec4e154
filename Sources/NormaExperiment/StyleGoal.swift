import NormaData
import NormaModels
import NormaRecords
import NormaTensor
import NormaTraining

/// What pictures shall look like: the styles, and the loss that tells how far a picture is from its content and its style.
public struct StyleGoal {
  public let loss: PerceptualLoss
  /// Tells the classifier of the loss from others.
  public let features: String
  /// A picture per style.
  public let styles: ImageDataset
  let device: Device
  /// [styles, 3, H, W].
  let images: Tensor
  let target: PerceptualLoss.StyleTarget

  /// Moves the classifier to the device.
  /// - Throws: ``TrainingError`` unless the styles are in colour; `NetworkError` where they are too small for the classifier.
  public init(loss: PerceptualLoss, features: String, styles: ImageDataset, device: Device) throws {
    try Self.checkColours(of: styles)
    try loss.features.to(device: device)
    try loss.features.to(memoryFormat: .channelsLast)
    self.loss = loss
    self.features = features
    self.styles = styles
    self.device = device
    images = try Tensor(
      (0..<styles.count).flatMap { styles.image($0) },
      shape: [styles.count, styles.channels, styles.height, styles.width]
    ).to(device: device)
    target = try onOneThread { [images] in try loss.styleTarget([images]) }
  }

  static func checkColours(of images: ImageDataset) throws {
    guard images.channels == 3 else {
      throw TrainingError(
        "style transfer takes pictures with 3 channels, got \(images.channels) in \(images.name); convert them to colour"
      )
    }
  }

  /// The style that a picture gets in evaluation, by its place.
  public static func style(of place: Int, among styles: Int) -> Int { place % styles }

  /// The pictures of a batch, [N, 3, H, W] in 0…1.
  func contents(_ batch: ImageBatch) throws -> Tensor {
    try Tensor(batch.inputs, shape: [batch.count, batch.channels, batch.height, batch.width])
      .to(device: device).contiguous(.channelsLast)
  }

  /// What the loss says of the pictures as they are, which keep all of the content and have nothing of the style. The same for any
  /// number of threads.
  public func evaluateUntouched(_ samples: ImageDataset) throws -> StyleTask.Evaluation {
    try onOneThread {
      try withoutGradients {
        try evaluation(of: samples, keepingPictures: false) { batch, numbers in
          let pictures = try contents(batch)
          return (pictures, try loss(pictures, content: pictures, style: target, styles: numbers))
        }
      }
    }
  }

  /// - Parameter made: the pictures made of a batch in these styles, and what the loss says of them.
  func evaluation(
    of samples: ImageDataset, keepingPictures: Bool,
    _ made: (ImageBatch, [Int]) throws -> (pictures: Tensor, terms: PerceptualLoss.Terms)
  ) throws -> StyleTask.Evaluation {
    var evaluation = StyleTask.Evaluation()
    // Enough at a time to be fast; what a network gives for a picture in evaluation does not depend on the others.
    let loader = try samples.evaluationBatches(batchSize: max(1, min(16, 1_000_000 / samples.valuesPerImage)))
    while let batch = try loader.next() {
      let (pictures, terms) = try made(batch, batch.indices.map { Self.style(of: $0, among: styles.count) })
      let share = Double(batch.count) / Double(samples.count)
      evaluation.loss += share * (try terms.total.item())
      evaluation.content += share * (try terms.content.item())
      evaluation.style += share * (try terms.style.item())
      if keepingPictures {
        let values = try pictures.clamped(from: 0, to: 1).to(device: .cpu).contiguous().array(of: Float.self)
        let size = samples.valuesPerImage
        evaluation.pictures += (0..<batch.count).map { Array(values[$0 * size..<($0 + 1) * size]) }
      }
    }
    return evaluation
  }
}
