import Foundation
import NormaData
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import NormaTraining
import TestSupport
import Testing

private typealias Parts = (training: SegmentationDataset, validation: SegmentationDataset)

/// U-Nets whose output is smaller than their input, and those for volumes.
@Suite struct SegmentationGeometryTests {
  private func data(
    width: Int, height: Int, slices: Int, validation: Int, classes: Int = 2, seed: UInt64 = 1
  ) throws -> Parts {
    Runtime.threads = 1
    let (images, labels) = SyntheticEM(width: width, height: height, slices: slices, seed: seed).make()
    // Of three classes the third are bright insides; four columns are without labels.
    let values = zip(images.values, labels.values).enumerated().map { index, pair -> Float in
      if (16..<20).contains(index % width) { return 7 }
      return pair.1 == 0 ? 0 : classes == 3 && pair.0 > 150 ? 200 : 100
    }
    let marked = try ImageStack(
      pages: slices, channels: 1, height: height, width: width, format: .uint8, values: values)
    return try SegmentationDataset(images: images, labels: marked, ignore: 7, name: "synthetic").split(
      validationSlices: validation)
  }

  private func model(_ change: (inout UNet.Options) -> Void) throws -> UNet {
    var options = UNet.Options()
    (options.width, options.depth, options.dropout, options.head) = (2, 1, 0, .plain)
    options.normalization = .group(groups: 2)
    change(&options)
    return try UNet(options, generator: Generator(seed: 3))
  }

  private func task(
    _ model: UNet, _ data: Parts, crop: Int, slices: Int = 1, batch: Int = 2,
    loss: SegmentationLoss = SegmentationLoss(),
    weighting: BorderWeighting? = nil
  ) throws -> SegmentationTask {
    var sampling = SampleOptions(
      crop: crop, batchSize: batch, samplesPerEpoch: 2 * batch, seed: 5, augmentation: .full, borderWeighting: weighting
    )
    sampling.slices = slices
    return try SegmentationTask(
      model: model, geometry: model.options.geometry, training: data.training, validation: data.validation,
      sampling: sampling, loss: loss)
  }

  // MARK: - The loss

  /// The weighted cross-entropy of the middle of every sample, and the share of right pixels there, by hand.
  @Test(arguments: [2, 3], [2, 3]) func theLossIsThatOfTheMiddle(dimensions: Int, classes: Int) throws {
    let data = try data(width: 40, height: 36, slices: 24, validation: 2, classes: classes)
    let model = try model {
      ($0.padding, $0.dimensions, $0.outputChannels) = (.valid, dimensions, classes == 2 ? 1 : 3)
    }
    let classWeights = [0.5, 2, 1].prefix(classes)
    // 4 pixels are lost at every side before the pooling's lattice, 8 in all: 30 become 14, and 20 slices 4.
    let (crop, out, margin) = (30, 14, 8)
    let (slices, outSlices) = dimensions == 3 ? (20, 4) : (1, 1)
    let task = try task(
      model, data, crop: crop, slices: slices, loss: SegmentationLoss(classWeights: Array(classWeights)),
      weighting: BorderWeighting())
    let batch = try #require(
      try task.batches(epoch: 0, BatchPlan(samples: task.samplesPerEpoch, batchSize: task.batchSize)).next())
    let pass = try task.pass(batch, TrainingOptions())
    let shape = dimensions == 3 ? [2, 1, slices, crop, crop] : [2, 1, crop, crop]
    // With one channel a volume's planes follow each other as they do in the batch.
    let network = try model(Tensor(batch.images, shape: shape))
    #expect(network.shape == [2, model.options.outputChannels] + (dimensions == 3 ? [outSlices] : []) + [out, out])
    let logits: [Double] = try network.detached().array()
    #expect(Set(logits).count > 100)
    let volume = outSlices * out * out
    var (sum, total, right, counted, ignored) = (0.0, 0.0, 0, 0, 0)
    for sample in 0..<2 {
      for z in 0..<outSlices {
        for y in 0..<out {
          for x in 0..<out {
            let plane = sample * slices + (dimensions == 3 ? z + margin : 0)
            let pixel = (plane * crop + y + margin) * crop + x + margin
            let label = batch.labels[pixel]
            guard label != SegmentationDataset.ignoredClass else {
              ignored += 1
              continue
            }
            let place = (z * out + y) * out + x
            let values = (0..<model.options.outputChannels).map {
              logits[(sample * model.options.outputChannels + $0) * volume + place]
            }
            let all = values.count == 1 ? [0, values[0]] : values
            let loss = log(all.reduce(0) { $0 + exp($1) }) - all[Int(label)]
            let weight = Double(batch.weights![pixel]) * classWeights[Int(label)]
            (sum, total) = (sum + weight * loss, total + weight)
            right += all.firstIndex(of: all.max()!) == Int(label) ? 1 : 0
            counted += 1
          }
        }
      }
    }
    #expect(ignored > 0 && counted > ignored)
    #expect(abs(try pass.loss.item() - sum / total) < 1e-5 * (1 + sum / total))
    let accuracy = try #require(try pass.scores()[.accuracy])
    #expect(abs(accuracy - Double(right) / Double(counted)) < 1e-6)
  }

  // MARK: - Evaluation

  /// The pixel that is seen where a walk of so many steps from the first one, turning back at both ends, arrives.
  private func walk(_ steps: Int, _ extent: Int) -> Int {
    guard extent > 1 else { return 0 }
    // Backwards the first step turns back.
    var (place, direction) = (0, 1)
    for _ in 0..<abs(steps) {
      if place + direction < 0 || place + direction >= extent { direction = -direction }
      place += direction
    }
    return place
  }

  struct Case: Sendable {
    var padding: UNet.Padding
    var dimensions: Int
    var depth = 1
    var outputs = 1
    /// Height and width of the slices, and how many are evaluated.
    var size: (height: Int, width: Int, slices: Int)
  }

  @Test(arguments: [
    Case(padding: .valid, dimensions: 2, size: (37, 50, 2)),
    Case(padding: .valid, dimensions: 2, outputs: 3, size: (51, 38, 1)),
    // 28 pixels are missing at every side of 16 and 17.
    Case(padding: .valid, dimensions: 2, depth: 2, size: (17, 16, 2)),
    // Of 2 and 3 slices a walk of 8 and 16 needs many turns.
    Case(padding: .same, dimensions: 3, depth: 3, size: (33, 26, 2)),
    Case(padding: .same, dimensions: 3, depth: 3, outputs: 3, size: (24, 31, 3)),
    Case(padding: .same, dimensions: 3, depth: 2, size: (20, 20, 1)),
    Case(padding: .valid, dimensions: 3, size: (19, 22, 3)),
    Case(padding: .valid, dimensions: 3, outputs: 3, size: (24, 21, 5)),
  ])
  func evaluationIsAPassOverMirroredSlices(_ item: Case) throws {
    let (height, width, slices) = item.size
    let data = try data(
      width: width, height: height, slices: 25, validation: slices, classes: item.outputs == 3 ? 3 : 2)
    let model = try model {
      ($0.padding, $0.dimensions, $0.depth, $0.outputChannels) = (
        item.padding, item.dimensions, item.depth, item.outputs
      )
    }
    let options = model.options
    let isVolume = item.dimensions == 3
    // The training needs not fit to evaluate.
    let many = try self.data(width: 64, height: 64, slices: 30, validation: 1, classes: item.outputs == 3 ? 3 : 2)
    let task = try task(
      model, (many.training, data.validation), crop: options.geometry.nearest(to: 64),
      slices: isVolume ? options.geometry.nearest(to: 29) : 1)
    model.evaluate()
    let evaluation = try withoutGradients {
      try task.evaluate(on: data.validation, TrainingOptions(), keepingPredictions: true)
    }
    #expect(evaluation.probabilities.count == slices && evaluation.predictions.count == slices)

    // With padding what is missing comes at the end, without it around the slice.
    func range(_ wanted: Int) -> Range<Int> {
      let multiple = options.extentMultiple
      return item.padding == .valid
        ? options.inputRange(forOutput: wanted) : 0..<(wanted + multiple - 1) / multiple * multiple
    }
    let (rows, columns, depths) = (range(height), range(width), isVolume ? range(slices) : 0..<1)
    if isVolume { #expect(depths.count > 2 * slices, "the case is to need several turns") }
    let images = (0..<slices).map(data.validation.image)
    var (loss, right, counted) = (0.0, 0, 0)
    for group in 0..<(isVolume ? 1 : slices) {
      let input = depths.flatMap { z in
        rows.flatMap { y in
          columns.map { x in
            images[isVolume ? walk(z, slices) : group][walk(y, height) * width + walk(x, width)]
          }
        }
      }
      let shape = (isVolume ? [depths.count] : []) + [rows.count, columns.count]
      let output = try withoutGradients { try model(Tensor(input, shape: [1, 1] + shape)) }
      let values: [Double] = try output.array()
      let extents = Array(output.shape.suffix(2))
      let outSlices = isVolume ? output.shape[2] : 1
      // Pixel 0 of the slice is as far in the output as it is in the input beyond what is lost.
      let (top, left) = (-rows.lowerBound - options.margin, -columns.lowerBound - options.margin)
      let front = isVolume ? -depths.lowerBound - options.margin : 0
      for z in 0..<(isVolume ? slices : 1) {
        let page = isVolume ? z : group
        let labels = data.validation.labels(page: page)
        for y in 0..<height {
          for x in 0..<width {
            let logits = (0..<item.outputs).map {
              values[(($0 * outSlices + z + front) * extents[0] + y + top) * extents[1] + x + left]
            }
            let all = logits.count == 1 ? [0, logits[0]] : logits
            let scale = all.reduce(0) { $0 + exp($1) }
            for channel in 0..<item.outputs {
              let expected = exp(logits[channel]) / scale
              let found = evaluation.probabilities[page][(channel * height + y) * width + x]
              if abs(Double(found) - expected) > 1e-5 {
                Issue.record("page \(page), \(y), \(x): \(found), not \(expected)")
              }
            }
            let likeliest = all.indices.max { all[$0] < all[$1] }!
            let label = labels[y * width + x]
            guard label != SegmentationDataset.ignoredClass else { continue }
            loss += log(scale) - all[Int(label)]
            right += Int(label) == likeliest ? 1 : 0
            counted += 1
          }
        }
      }
    }
    #expect(evaluation.confusion.total == counted)
    #expect(abs(evaluation.confusion.accuracy - Double(right) / Double(counted)) < 2e-4)
    // Slices have equally many pixels with labels.
    #expect(abs(evaluation.loss - loss / Double(counted)) < 1e-5)
  }

  // MARK: - What does not fit

  private func error(
    crop: Int, slices: Int = 1, _ change: (inout UNet.Options) -> Void
  ) throws -> String {
    let parts = try data(width: 64, height: 64, slices: 14, validation: 2)
    let model = try model(change)
    do {
      _ = try task(model, parts, crop: crop, slices: slices)
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test func errorsNameAFittingSize() throws {
    func valid(_ options: inout UNet.Options) { options.padding = .valid }
    func volume(_ options: inout UNet.Options) { (options.dimensions, options.depth) = (3, 2) }
    #expect(try error(crop: 30, valid).isEmpty)
    #expect(try error(crop: 31, valid).contains("sides of 18, 20, 22, …, got 31; choose 30"))
    #expect(try error(crop: 10, valid).contains("got 10; choose 18"))
    #expect(try error(crop: 48) { ($0.padding, $0.depth) = (.valid, 3) }.contains("the data have 64, too few for any"))
    #expect(try error(crop: 32, slices: 8, volume).isEmpty)
    #expect(try error(crop: 32, slices: 6, volume).contains("number of slices divisible by 4, got 6; choose 4"))
    #expect(try error(crop: 32, slices: 1, volume).contains("got 1; choose 4"))
    #expect(try error(crop: 30, slices: 8, volume).contains("divisible by 4, got 30; choose 28"))
    #expect(try error(crop: 32, slices: 13, volume).contains("1 to 12 slices"))
    #expect(
      try error(crop: 30, slices: 8) { ($0.dimensions, $0.padding) = (3, .valid) }
        .contains("the data have 12, too few for any: choose a network of less --depth"))
    #expect(try error(crop: 32, slices: 2) { _ in }.contains("2 dimensions takes samples of one slice, got 2"))
  }

  // MARK: - All together

  /// Three classes would be too slow; membranes are about a fifth, so that calling everything cell scores about 0.78.
  @Test(arguments: [2, 3]) func learnsMembranes(_ dimensions: Int) throws {
    Runtime.threads = 1
    let (images, labels) = SyntheticEM(width: 96, height: 96, slices: 12, seed: 1).make()
    let data = try SegmentationDataset(images: images, labels: labels, name: "synthetic").split(validationSlices: 2)
    let model = try model {
      ($0.width, $0.depth, $0.normalization) = (4, 2, .batch)
      if dimensions == 2 { $0.padding = .valid } else { $0.dimensions = 3 }
    }
    var setting = SegmentationSetting(
      loader: SampleOptions(crop: dimensions == 2 ? 92 : 48, batchSize: 1, samplesPerEpoch: 160, seed: 0))
    if dimensions == 3 { setting.loader.slices = 4 }
    (setting.epochs, setting.learningRate) = (3, 3e-3)
    let trainer = try SegmentationTrainer(model, data, setting)
    try trainer.run()
    let evaluation = try trainer.evaluate()
    #expect(evaluation.confusion.total == 2 * 96 * 96)
    #expect(evaluation.confusion.constantAccuracy < 0.8)
    #expect(evaluation.confusion.accuracy > 0.84, "\(evaluation.confusion.accuracy)")
    #expect(evaluation.confusion.constantPrediction == nil)
    #expect(trainer.history[2].loss < trainer.history[0].loss)
  }
}
