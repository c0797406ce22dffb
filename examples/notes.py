"""A round for two voices, separated into its notes, and each note written back to sound.

    python examples/notes.py [--out FOLDER]

The beginning of Frère Jacques has five notes with fading overtones, and a second voice sings it two bars after the
first. A column of V is the spectrum at one moment. Each column of W is one note with its overtones, from which its
pitch can be read, and H is the score. notes.wav is the tune, and note-1.wav its first note alone.
"""

import numpy as np
from gallery import BLUE, ORANGE, arguments, draw, save, tidy
from matplotlib import colormaps
from scipy.io import wavfile
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

import dnmf

RATE, BEAT, WINDOW, STEP = 8000, 0.3, 1024, 256
NAMES = "CDEFG"
PITCHES = np.array([261.63, 293.66, 329.63, 349.23, 392.00])  # Hz
FIRST = ["C", "D", "E", "C", "C", "D", "E", "C", "E", "F", "G", ".", "E", "F", "G", "."]
VOICES = [[*FIRST, *"." * 8], [*"." * 8, *FIRST]]


def strike(pitch):
    """Return the sound of a note: eight overtones that fade, the higher ones sooner."""
    time = np.arange(int(RATE * 2 * BEAT)) / RATE
    tones = (np.sin(2 * np.pi * k * pitch * time) * np.exp(-(3 + k) * time) / k for k in range(1, 9))
    return sum(tones) * np.minimum(1, time / 0.005)


options = arguments(__doc__)
length = int(RATE * BEAT * (len(VOICES[0]) + 2))
true = np.zeros((len(NAMES), length))
for voice in VOICES:
    for beat, name in enumerate(voice):
        if name != ".":
            sound = strike(PITCHES[NAMES.index(name)])
            start = int(RATE * BEAT * beat)
            true[NAMES.index(name), start : start + len(sound)] += sound
tune = true.sum(axis=0)

spectra = ShortTimeFFT(hann(WINDOW, sym=False), STEP, RATE)
moments = spectra.stft(tune)
V = abs(moments)
result = dnmf.factorize(V, len(NAMES), loss="kullback-leibler", seed=0, max_passes=300)
print(result.verdict)
W, H = result
peaks = W.argmax(axis=0)
left, top, right = (np.log(W[peaks + shift, range(len(NAMES))]) for shift in (-1, 0, 1))
found = (peaks + 0.5 * (left - right) / (left - 2 * top + right)) * RATE / WINDOW  # the top of a parabola
order = found.argsort()
W, H, found = W[:, order], H[order], found[order]

quality = []
for place, (name, pitch, heard) in enumerate(zip(NAMES, PITCHES, found, strict=True)):
    share = np.outer(W[:, place], H[place]) / np.maximum(W @ H, 1e-12)
    note = spectra.istft(share * moments, k1=length)
    quality.append(10 * np.log10((true[place] ** 2).sum() / ((true[place] - note) ** 2).sum()))
    print(f"{name}4  true {pitch:6.1f} Hz  found {heard:6.1f} Hz  signal to distortion {quality[-1]:4.1f} dB")
    wavfile.write(options.out / f"note-{place + 1}.wav", RATE, (note / abs(tune).max()).astype("float32"))
wavfile.write(options.out / "notes.wav", RATE, (tune / abs(tune).max()).astype("float32"))

figure = draw(9, 5.4, "A round for two voices, separated into its notes")
panels = figure.subplot_mosaic([["tune", "tune"], ["notes", "score"]], width_ratios=[1, 1.7])
end = length / RATE
audible = spectra.f < 2500
loudness = 20 * np.log10(V[audible] / V.max() + 1e-3)
panels["tune"].pcolormesh(spectra.t(length), spectra.f[audible], loudness, cmap=colormaps["cividis"].resampled(12))
panels["tune"].set_xlim(0, end)
tidy(panels["tune"], "given: the loudness of every pitch at every moment", "seconds", "Hz")
frequencies, seconds = spectra.f, spectra.t(length)
for place, name in enumerate(NAMES):
    panels["notes"].plot(frequencies, W[:, place] / W[:, place].max() + place, color=BLUE)
    panels["notes"].plot(PITCHES[place], place + 1.08, marker="v", color=ORANGE)
    panels["score"].fill_between(seconds, place, place + 0.9 * H[place] / H[place].max(), color=BLUE)
    for voice in VOICES:
        beats = [BEAT * beat for beat, sung in enumerate(voice) if sung == name]
        panels["score"].scatter(beats, [place - 0.06] * len(beats), marker="^", s=14, color=ORANGE)
panels["notes"].set(xlim=(200, 1400), yticks=range(5), yticklabels=[f"{name}4" for name in NAMES])
panels["score"].set(xlim=(0, end), yticks=range(5), yticklabels=[f"{name}4" for name in NAMES])
tidy(panels["notes"], "W: the spectra (true pitch orange)", "Hz")
tidy(panels["score"], "H: when each note sounds (struck at orange)", "seconds")
save(figure, options.out / "notes.png")
